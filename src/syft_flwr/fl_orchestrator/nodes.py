"""Node ids: Flower names nodes by 63-bit numbers, we name participants by email."""

import hashlib
from collections.abc import Iterable

from syft_flwr.emails import normalise, normalise_all
from syft_flwr.errors import ConfigError


def node_id_of(email: str) -> int:
    """Return the 63 upper bits of SHA-256 of the normalised email's first 64, so that int64 fields hold it."""
    return int.from_bytes(hashlib.sha256(normalise(email).encode()).digest()[:8], "big") >> 1


class Nodes:
    """The datasites of a run, by email and by node id.

    Raises:
        ConfigError: no datasite, a bad or repeated email, or two emails with one node id.
    """

    def __init__(self, datasites: Iterable[str]) -> None:
        self.emails = normalise_all(datasites)
        if not self.emails:
            raise ConfigError("datasites: none were given", hint="Name at least one data owner's email.")
        self._by_id: dict[int, str] = {}
        for email in self.emails:
            other = self._by_id.setdefault(node_id_of(email), email)
            if other != email:
                raise ConfigError(f"datasites: {email} and {other} have the same node id", hint="Rename one of them.")

    @property
    def ids(self) -> list[int]:
        return list(self._by_id)

    def email(self, node_id: int) -> str:
        """Return the datasite of a node id; ValueError if it takes no part in the run."""
        try:
            return self._by_id[node_id]
        except KeyError:
            raise ValueError(f"node {node_id} is none of this run's datasites: {', '.join(self.emails)}") from None
