"""The ClientApp, which runs at a hospital. The function ``_reply`` builds all data that leaves the hospital.

Read ``_reply`` before you run the app. A reply has the eight numbers of the model (after training only), the number of
women, and the mean loss and accuracy over them. It also has the name that the hospital chose. It never has a record or a
value of a single woman.
"""

import logging

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from diabetes_prediction.task import Model, Score, TrainSettings, load_hospital, score, train

logger = logging.getLogger("flwr.diabetes")

app = ClientApp()


@app.train()
def train_on_own_patients(message: Message, context: Context) -> Message:
    """Train the received model on the patients of this hospital."""
    settings = TrainSettings.from_record(message.content["config"])
    hospital = load_hospital(context)
    model = train(Model.from_record(message.content["arrays"]), hospital.train, settings)
    result = score(model, hospital.train)
    logger.info("trained %d epochs on %d patients: loss %.3f", settings.epochs, len(hospital.train), result.loss)
    return _reply(message, hospital.name, len(hospital.train), result, model)


@app.evaluate()
def examine_on_held_out_patients(message: Message, context: Context) -> Message:
    """Test the received model on the held-out patients of this hospital."""
    hospital = load_hospital(context)
    result = score(Model.from_record(message.content["arrays"]), hospital.test)
    logger.info("tested on %d held-out patients: accuracy %.3f", len(hospital.test), result.accuracy)
    return _reply(message, hospital.name, len(hospital.test), result)


def _reply(message: Message, name: str, examples: int, result: Score, model: Model | None = None) -> Message:
    metrics = MetricRecord({"num-examples": examples, "loss": result.loss, "accuracy": result.accuracy})
    content = RecordDict({"metrics": metrics, "hospital": ConfigRecord({"name": name})})
    if model is not None:
        content["arrays"] = model.to_record()
    return Message(content, reply_to=message)
