"""The ServerApp of the data scientist: federated rounds, the saved model, and a comparison with each hospital alone.

The comparison is federated too. Each hospital trains a new model on its own patients, with as many steps as in all rounds
together. All hospitals then test this model. So "alone" and "together" are tested on the same held-out patients, although
their records are never pooled.
"""

import logging

from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.serverapp import Grid, ServerApp

from diabetes_prediction.results import Examination, Results, output_folder, save_model
from diabetes_prediction.strategy import DiabetesFedAvg
from diabetes_prediction.task import Model

logger = logging.getLogger("flwr.diabetes")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train over all rounds, save the model and the figures, and print them."""
    config = context.run_config
    rounds, epochs = int(config["num-server-rounds"]), int(config["local-epochs"])
    timeout = float(config["round-timeout-seconds"])
    optimiser = {"learning-rate": float(config["learning-rate"]), "weight-decay": float(config["weight-decay"])}
    folder = output_folder()

    strategy = DiabetesFedAvg()
    outcome = strategy.start(
        grid=grid,
        initial_arrays=Model.untrained().to_record(),
        num_rounds=rounds,
        timeout=timeout,
        train_config=ConfigRecord({"local-epochs": epochs, **optimiser}),
    )
    if not outcome.arrays:
        raise RuntimeError("no hospital returned a model in any round; read the failures above")
    model_path = save_model(Model.from_record(outcome.arrays), folder)

    alone_config = ConfigRecord({"local-epochs": rounds * epochs, **optimiser})
    results = Results(strategy.rounds, compare_alone(grid, strategy, alone_config, timeout))
    results.save(folder)
    print(results.table())
    print(f"model: {model_path}")


def compare_alone(grid: Grid, strategy: DiabetesFedAvg, config: ConfigRecord, timeout: float) -> dict[str, Examination]:
    """Let each hospital train a model alone, and all hospitals test it; return the tests by the name of the hospital."""
    logger.info("")
    logger.info("[ALONE] each hospital trains on its own patients only")
    start = RecordDict({"arrays": Model.untrained().to_record(), "config": config})
    trained = _ask_all(grid, start, MessageType.TRAIN, timeout)
    examined: dict[str, Examination] = {}
    for reply in sorted(trained, key=lambda each: each.metadata.src_node_id):
        if reply.has_error():
            logger.info("\tnode %d did not train: %s", reply.metadata.src_node_id, reply.error.reason)
            continue
        content = RecordDict({"arrays": reply.content["arrays"], "config": config})
        examination = strategy.examination(_ask_all(grid, content, MessageType.EVALUATE, timeout))
        name = strategy.name_of(reply)
        examined[name] = examination
        logger.info("\t%s alone: accuracy %.3f on %d patients", name, examination.accuracy, examination.examples)
    return examined


def _ask_all(grid: Grid, content: RecordDict, message_type: str, timeout: float) -> list[Message]:
    messages = [Message(content, node_id, message_type) for node_id in grid.get_node_ids()]
    return list(grid.send_and_receive(messages, timeout=timeout))
