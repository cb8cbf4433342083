"""The ClientApp, which runs at a clinic. In each round it grows one tree on its own tumours, and sends only this tree.

More than one would be lost: ``FedXgbBagging`` takes as many trees of each reply as ``num_parallel_tree`` says, here one.
"""

import xgboost as xgb
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from sklearn.metrics import roc_auc_score

from xgboost_tumours.task import TREES, from_record, load_tumours, to_record

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Add a tree to the received model, and send this tree."""
    tumours, _ = load_tumours(context)
    received = from_record(message.content["arrays"])
    model = xgb.train(TREES, tumours, num_boost_round=1, xgb_model=bytearray(received) or None)
    rounds = model.num_boosted_rounds()
    added = model[rounds - 1 : rounds]

    metrics = MetricRecord({"num-examples": tumours.num_row()})
    content = RecordDict({"arrays": to_record(bytes(added.save_raw("json"))), "metrics": metrics})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Test the received model on the held-out tumours of this clinic."""
    _, tumours = load_tumours(context)
    model = xgb.Booster(TREES, model_file=bytearray(from_record(message.content["arrays"])))
    auc = roc_auc_score(tumours.get_label(), model.predict(tumours))
    metrics = MetricRecord({"num-examples": tumours.num_row(), "auc": float(auc)})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
