"""Opens the stand-in for a transport on one machine: the ``stand_in`` of its row in the table of transports."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from syft_flwr.config import TRANSPORTS
from syft_flwr.errors import ConfigError
from syft_flwr.transport.opening import load_function


@dataclass(frozen=True, slots=True)
class Usage:
    """What one account used of a service's limits. Bytes are those of files' contents."""

    email: str
    calls: int
    requests: int
    units: int
    bytes_up: int
    bytes_down: int


class StandIn(Protocol):
    """The storage between the participants, from opening to :meth:`close`.

    Opened with the participants' emails, a private folder of the run, and the folder of its logs.
    """

    @property
    def delay(self) -> float:
        """Return ``Properties.delay`` of the participants' ends."""

    def environment(self, email: str) -> dict[str, str]:
        """Return the environment in which a participant's process finds it."""

    def usage(self) -> list[Usage]:
        """Return what each account used up to now; empty where no service counts."""

    def close(self) -> None:
        """End it. A second call does nothing."""


def open_stand_in(transport: str, emails: Sequence[str], folder: Path, logs: Path) -> StandIn:
    """Open the stand-in for a transport.

    Raises:
        RunError: it cannot be started.
    """
    opened: StandIn = load_function(TRANSPORTS[transport].stand_in)(emails, folder, logs)
    return opened


def require_stand_in(transport: str) -> None:
    """Raise a ConfigError unless there is a stand-in for a transport."""
    if not TRANSPORTS[transport].stand_in:
        possible = ", ".join(name for name, row in TRANSPORTS.items() if row.stand_in)
        raise ConfigError(
            f"transport: {transport} cannot be simulated on one machine", hint=f"Choose another for it: {possible}."
        )
