"""Cases, their outcomes, and the interface of every federation.

Participants have the same emails on every system, and therefore the same node ids. Strategies get equal numbers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from flwr.app import Context
from numpy.typing import NDArray

PROJECT = Path(__file__).parent.parent / "project"
AGGREGATOR = "ds@university.example"


def datasites(clients: int) -> list[str]:
    """Return the emails of ``clients`` data owners; the position of an email is its partition."""
    return [f"do{partition}@hospital-{partition}.example" for partition in range(clients)]


def node_id(email: str) -> int:
    """Return the Flower node id of a participant: 63 bits of SHA-256 of its normalised email."""
    return int.from_bytes(sha256(email.encode()).digest()[:8], "big") >> 1


def node_config(partition: int, clients: int) -> dict[str, Any]:
    return {"partition-id": partition, "num-partitions": clients}


def fused_run_config(overrides: Mapping[str, Any], project: Path = PROJECT) -> dict[str, Any]:
    """Return the project's run config with ``overrides``, merged as Flower merges them."""
    from flwr.common.config import get_fused_config_from_dir

    return get_fused_config_from_dir(project, dict(overrides))


@dataclass(frozen=True)
class Case:
    """One run: references to both apps, the number of clients, and changes of the project's run config."""

    server_app: str
    client_app: str
    clients: int = 3
    run_config: Mapping[str, Any] = field(default_factory=dict)
    project: Path = PROJECT
    #: One for each client, in addition to its partition; empty for none.
    node_configs: Sequence[Mapping[str, Any]] = ()

    @property
    def overrides(self) -> dict[str, Any]:
        # Only the apps of this folder read the number of clients.
        return {**self.run_config, "clients": self.clients} if self.project == PROJECT else dict(self.run_config)


@dataclass(frozen=True)
class Outcome:
    """The result that a ServerApp stores in its Context: the final arrays, and a history of numbers."""

    arrays: dict[str, NDArray[Any]]
    history: dict[str, Any]

    @classmethod
    def of(cls, context: Context) -> "Outcome":
        arrays = context.state.array_records["outcome.arrays"]
        history = str(context.state.config_records["outcome.history"]["json"])
        return cls({key: array.numpy() for key, array in arrays.items()}, json.loads(history))


class Federation(Protocol):
    """A system that runs a :class:`Case` from start to end and leaves nothing running."""

    def run(self, case: Case) -> Outcome:
        """Run both apps until the ServerApp returns; raise the errors of the ServerApp."""


def assert_identical(actual: Outcome, expected: Outcome) -> None:
    """Assert that both outcomes have the same arrays, bit by bit, and the same history."""
    assert list(actual.arrays) == list(expected.arrays)
    for key, values in expected.arrays.items():
        found = actual.arrays[key]
        assert (found.dtype, found.shape) == (values.dtype, values.shape), key
        assert found.tobytes() == values.tobytes(), f"{key} differs by up to {np.abs(found - values).max()}"
    assert actual.history == expected.history
