"""The ClientApp, which runs at a hospital. Noise and masks cover each update before it leaves the hospital.

Mods run from the inside: the app trains, then ``LocalDpMod`` adds noise, then ``secaggplus_mod`` adds the masks.
"""

import logging

from flwr.app import Context
from flwr.client import Client, NumPyClient
from flwr.client.mod import LocalDpMod, secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import NDArrays, Scalar

from secure_aggregation.task import DELTA, EPSILON, LEARNING_RATE, SENSITIVITY, accuracy, load_tumours, train_step

logger = logging.getLogger("flwr.hospital")


class Hospital(NumPyClient):
    """Trains on the tumours of one hospital."""

    def __init__(self, context: Context) -> None:
        self._measurements, self._malignant = load_tumours(context)

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:  # noqa: ARG002
        """Train one step. Every hospital counts as 1, so that its number of patients stays secret."""
        (weights,) = parameters
        trained = train_step(weights, self._measurements, self._malignant)
        # Only the log of this hospital has the accuracy.
        logger.info("received a model with accuracy %.3f here", accuracy(weights, self._measurements, self._malignant))
        return [trained], 1, {}


def client_fn(context: Context) -> Client:
    return Hospital(context).to_client()


noise = LocalDpMod(clipping_norm=LEARNING_RATE, sensitivity=SENSITIVITY, epsilon=EPSILON, delta=DELTA)
app = ClientApp(client_fn=client_fn, mods=[secaggplus_mod, noise])
