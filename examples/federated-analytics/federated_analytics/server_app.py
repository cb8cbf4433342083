"""The ServerApp of the data scientist: three queries, a table, and no strategy."""

import json
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

logger = logging.getLogger("flwr.analytics")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Ask all hospitals, print the sums over them, and write ``results.json`` into ``OUTPUT_DIR``."""
    timeout = float(context.run_config["timeout-seconds"])
    results = {
        "admissions by ward": ask(grid, "query.count", {"by": "ward"}, timeout),
        "admissions by age": ask(grid, "query.count", {"by": "age"}, timeout),
        "nights by ward": ask(grid, "query.mean", {"by": "ward", "of": "nights"}, timeout),
    }
    for title, result in results.items():
        print(f"\n{title} ({result['hospitals']} hospitals, {result['withheld']} small groups withheld)")
        for group, number in result["count"].items():
            mean = f"  mean {result['mean'][group]:.2f}" if "mean" in result else ""
            print(f"  {group:<12}{number:>6}{mean}")

    folder = Path(os.environ.get("OUTPUT_DIR") or "output")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def ask(grid: Grid, message_type: str, query: dict[str, str], timeout: float) -> dict[str, Any]:
    """Send one query to all hospitals, and return the sums of their replies for each group."""
    content = RecordDict({"query": ConfigRecord(query)})
    messages = [Message(content, node_id, message_type) for node_id in grid.get_node_ids()]
    totals: dict[str, Counter[str]] = {"count": Counter(), "sum": Counter()}
    hospitals = withheld = 0
    for reply in grid.send_and_receive(messages, timeout=timeout):
        if reply.has_error():
            logger.warning("node %d did not reply: %s", reply.metadata.src_node_id, reply.error.reason)
            continue
        hospitals += 1
        withheld += reply.content["withheld"]["groups"]
        for name, total in totals.items():
            total.update(reply.content.metric_records.get(name, {}))
    if not hospitals:
        raise RuntimeError("no hospital replied; read the warnings above")
    result = {"hospitals": hospitals, "withheld": withheld, "count": dict(sorted(totals["count"].items()))}
    if totals["sum"]:
        result["mean"] = {group: totals["sum"][group] / number for group, number in result["count"].items()}
    return result
