"""The ClientApp, which runs at a hospital. The function ``_reply`` builds all data that leaves the hospital."""

import logging

import pandas as pd
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from federated_analytics.task import group_of, load_admissions, min_group_size, numbers_of

logger = logging.getLogger("flwr.analytics")

app = ClientApp()


@app.query("count")
def count(message: Message, context: Context) -> Message:
    """Count the admissions of each group: of each ward, or of each range of age (a histogram)."""
    admissions = load_admissions(context)
    groups = group_of(admissions, message.content["query"]["by"])
    return _reply(message, context, {"count": groups.value_counts()})


@app.query("mean")
def mean(message: Message, context: Context) -> Message:
    """Add up a number over each group. With the counts, the sums of all hospitals give the mean."""
    admissions = load_admissions(context)
    query = message.content["query"]
    groups = group_of(admissions, query["by"])
    sums = numbers_of(admissions, query["of"]).groupby(groups).sum()
    return _reply(message, context, {"count": groups.value_counts(), "sum": sums})


def _reply(message: Message, context: Context, figures: dict[str, "pd.Series[int]"]) -> Message:
    """Return the figures of each group that is large enough. Only the number of the other groups is sent."""
    large = figures["count"] >= min_group_size(context)
    kept = large.index[large]
    logger.info("%s: sent %d groups, withheld %d", message.metadata.message_type, len(kept), len(large) - len(kept))
    records = {name: MetricRecord({group: int(series[group]) for group in kept}) for name, series in figures.items()}
    return Message(
        RecordDict({**records, "withheld": MetricRecord({"groups": len(large) - len(kept)})}), reply_to=message
    )
