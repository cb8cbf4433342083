"""The ServerApp of the data scientist: federated averaging through SecAgg+.

SecAgg+ is part of Flower's older API, so the strategy and the client are written with this API too.
"""

import os
from pathlib import Path

import numpy as np
from flwr.app import Context
from flwr.common import ndarrays_to_parameters
from flwr.server import LegacyContext, ServerConfig
from flwr.server.strategy import FedAvg
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import Grid, ServerApp

from secure_aggregation.task import COLUMNS

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train with the sums of all hospitals, and write ``model.npz`` into ``OUTPUT_DIR``."""
    hospitals = int(context.run_config["hospitals"])
    initial = np.zeros(len(COLUMNS) + 1)
    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_fit_clients=hospitals,
        min_available_clients=hospitals,
        initial_parameters=ndarrays_to_parameters([initial]),
    )
    secure_sum = SecAggPlusWorkflow(
        num_shares=hospitals,
        # One hospital may drop out. With more of them missing, no sum can be read.
        reconstruction_threshold=hospitals - 1,
        max_weight=1.0,
        timeout=float(context.run_config["timeout-seconds"]),
    )
    config = ServerConfig(num_rounds=int(context.run_config["num-server-rounds"]))
    training = LegacyContext(context=context, config=config, strategy=strategy)
    DefaultWorkflow(fit_workflow=secure_sum)(grid, training)

    (record,) = training.state.array_records["parameters"].values()
    weights = record.numpy()
    if np.array_equal(weights, initial):
        raise RuntimeError("no round had enough hospitals; read the failures above")
    folder = Path(os.environ.get("OUTPUT_DIR") or "output")
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "model.npz", weights=weights, names=[*COLUMNS, "bias"])
    for name, weight in zip([*COLUMNS, "bias"], weights, strict=True):
        print(f"{name:<16}{weight:>8.3f}")
    print(f"model: {folder / 'model.npz'}")
