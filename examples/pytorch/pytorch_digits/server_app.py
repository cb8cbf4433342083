"""The ServerApp of the data scientist: federated averaging with checkpoints."""

import os
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from pytorch_digits.task import Net
from syft_flwr.fl_orchestrator import Checkpoints

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train up to ``num-server-rounds``, from the last checkpoint if there is one, and save the best network."""
    torch.manual_seed(int(context.run_config["seed"]))
    folder = Path(os.environ.get("OUTPUT_DIR") or "output")
    folder.mkdir(parents=True, exist_ok=True)

    checkpoints = Checkpoints(folder / "checkpoints", metric="evaluate/accuracy")
    strategy = checkpoints.keep(FedAvg())
    strategy.start(
        grid=grid,
        initial_arrays=checkpoints.initial(ArrayRecord(Net().state_dict())),
        num_rounds=max(0, int(context.run_config["num-server-rounds"]) - checkpoints.rounds_done),
    )

    best = checkpoints.best()
    if best is None:
        raise RuntimeError("no post office trained; read the failures above")
    torch.save(best.to_array_record().to_torch_state_dict(), folder / "network.pt")
    print(f"best round: {best.server_round}, accuracy {best.metrics['evaluate/accuracy']:.3f}")
    print(f"network: {folder / 'network.pt'}")
