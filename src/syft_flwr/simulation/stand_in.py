"""Opens the local replacement of a transport, the ``stand_in`` in its row of the table of transports."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from syft_flwr.config import TRANSPORTS
from syft_flwr.errors import ConfigError
from syft_flwr.transport.opening import load_function


@dataclass(frozen=True, slots=True)
class Usage:
    """The use of a service by one account. Bytes count the contents of files only."""

    email: str
    calls: int
    requests: int
    units: int
    bytes_up: int
    bytes_down: int


class StandIn(Protocol):
    """The shared storage of a simulated run, open until :meth:`close`.

    A class that implements it is called with the emails of the participants, a private folder of the run, and the folder
    for logs.
    """

    @property
    def delay(self) -> float:
        """Return the delay of the storage in seconds, as ``Properties.delay`` of the transport."""

    def environment(self, email: str) -> dict[str, str]:
        """Return the environment variables with which a participant's process uses this storage."""

    def usage(self) -> list[Usage]:
        """Return the use of each account up to now; empty if the transport has no limits."""

    def close(self) -> None:
        """Close the storage. A second call does nothing."""


def open_stand_in(transport: str, emails: Sequence[str], folder: Path, logs: Path) -> StandIn:
    """Open the local replacement of a transport.

    Args:
        transport: the name of the transport.
        emails: the emails of the participants.
        folder: a private folder of the run.
        logs: the folder for logs.

    Raises:
        RunError: it cannot be started.
    """
    opened: StandIn = load_function(TRANSPORTS[transport].stand_in)(emails, folder, logs)
    return opened


def require_stand_in(transport: str) -> None:
    """Raise ConfigError if a transport cannot be simulated on one machine."""
    if not TRANSPORTS[transport].stand_in:
        possible = ", ".join(name for name, row in TRANSPORTS.items() if row.stand_in)
        raise ConfigError(
            f"transport: {transport} cannot be simulated on one machine", hint=f"Choose another transport: {possible}."
        )
