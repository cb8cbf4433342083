"""The ServerApp of the data scientist: bagging of the trees of all clinics."""

import os
from collections.abc import Iterable
from pathlib import Path

from flwr.app import ArrayRecord, Context, Message, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedXgbBagging

from xgboost_tumours.task import from_record, to_record

app = ServerApp()


class OrderedBagging(FedXgbBagging):
    """Bagging in the order of the nodes, so that every run gives the same model. Replies arrive in any order."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        return super().aggregate_train(server_round, sorted(replies, key=lambda reply: reply.metadata.src_node_id))


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Grow trees in each round, print the result, and write ``model.json`` into ``OUTPUT_DIR``."""
    result = OrderedBagging().start(
        grid=grid, initial_arrays=to_record(b""), num_rounds=int(context.run_config["num-server-rounds"])
    )
    model = from_record(result.arrays) if result.arrays else b""
    if not model:
        raise RuntimeError("no clinic sent trees; read the failures above")

    folder = Path(os.environ.get("OUTPUT_DIR") or "output")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_bytes(model)
    for number, metrics in result.evaluate_metrics_clientapp.items():
        print(f"round {number}: AUC {metrics['auc']:.3f}")
    print(f"model: {folder / 'model.json'}")
