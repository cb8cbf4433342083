"""FedAvg that logs clients, examples, failures and weighted accuracy of every round, also for each hospital."""

import logging
from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAvg

from diabetes_prediction.results import Examination, Round
from diabetes_prediction.task import clean_name

logger = logging.getLogger("flwr.diabetes")


class DiabetesFedAvg(FedAvg):
    """Federated averaging, weighted by the number of patients; ``rounds`` has the figures of each round.

    A hospital that fails is logged and counted, and the round continues with the others.
    """

    def __init__(self) -> None:
        super().__init__(weighted_by_key="num-examples")
        self.rounds: list[Round] = []
        self._names: dict[int, str] = {}
        self._training = (0, 0, 0)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Average the received models; keep the numbers of hospitals, patients and failures for the round."""
        received = self._in_order(replies)
        arrays, metrics = super().aggregate_train(server_round, received)
        answered = [reply for reply in received if reply.has_content()]
        examples = sum(_examples(reply) for reply in answered)
        self._training = (len(answered), examples, len(received) - len(answered))
        logger.info("round %d, train: %d clients, %d examples, %d failures", server_round, *self._training)
        return arrays, metrics

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Average the scores, weighted by patients. This equals the score on the pooled held-out patients."""
        received = self._in_order(replies)
        metrics = super().aggregate_evaluate(server_round, received)
        examination = self.examination(received)
        clients, examples, failures = self._training
        self.rounds.append(Round(server_round, clients, examples, failures, examination))
        logger.info(
            "round %d, evaluate: %d clients, %d examples, %d failures, weighted accuracy %s",
            server_round,
            len(examination.by_hospital),
            examination.examples,
            len(received) - len(examination.by_hospital),
            f"{examination.accuracy:.3f}" if examination.by_hospital else "unknown",
        )
        for name, accuracy in examination.by_hospital.items():
            logger.info("\t%s: accuracy %.3f", name, accuracy)
        return metrics

    def examination(self, replies: Iterable[Message]) -> Examination:
        """Return the test of one model from the replies of all hospitals; failed replies are ignored."""
        answered = [reply for reply in self._in_order(replies) if reply.has_content()]
        scores = [(self.name_of(reply), _examples(reply), reply.content["metrics"]) for reply in answered]
        examples = sum(count for _, count, _ in scores)
        return Examination(
            examples=examples,
            loss=sum(count * float(metrics["loss"]) for _, count, metrics in scores) / max(examples, 1),
            accuracy=sum(count * float(metrics["accuracy"]) for _, count, metrics in scores) / max(examples, 1),
            by_hospital=dict(sorted((name, float(metrics["accuracy"])) for name, _, metrics in scores)),
        )

    def name_of(self, reply: Message) -> str:
        """Return the name that a hospital chose; with its node id if the name is empty or used by another hospital."""
        node_id = reply.metadata.src_node_id
        if node_id not in self._names:
            about = reply.content.config_records.get("hospital", ConfigRecord())
            name = clean_name(about.get("name")) or f"node {node_id}"
            taken = name in self._names.values()
            self._names[node_id] = f"{name} ({node_id})" if taken else name
        return self._names[node_id]

    @staticmethod
    def _in_order(replies: Iterable[Message]) -> list[Message]:
        # Replies come in the order of arrival, and a sum of floats in another order differs in the last bit.
        return sorted(replies, key=lambda reply: reply.metadata.src_node_id)


def _examples(reply: Message) -> int:
    return int(reply.content["metrics"]["num-examples"])
