"""Maps between Flower's node ids (63-bit numbers) and the emails of participants."""

import hashlib
from collections.abc import Iterable

from syft_flwr.emails import normalise, normalise_all
from syft_flwr.errors import ConfigError


def node_id_of(email: str) -> int:
    """Return the upper 63 bits of the SHA-256 of the normalised email, so that the id fits into an int64 field."""
    return int.from_bytes(hashlib.sha256(normalise(email).encode()).digest()[:8], "big") >> 1


class Nodes:
    """The datasites of a run, by email and by node id.

    Raises:
        ConfigError: the list is empty, an email is not valid or listed twice, or two emails have the same node id.
    """

    def __init__(self, datasites: Iterable[str]) -> None:
        self.emails = normalise_all(datasites)
        if not self.emails:
            raise ConfigError("datasites: the list is empty", hint="Name at least one data owner's email.")
        self._by_id: dict[int, str] = {}
        for email in self.emails:
            other = self._by_id.setdefault(node_id_of(email), email)
            if other != email:
                raise ConfigError(
                    f"datasites: {email} and {other} have the same node id", hint="Use another email for one of them."
                )

    @property
    def ids(self) -> list[int]:
        return list(self._by_id)

    def email(self, node_id: int) -> str:
        """Return the datasite of a node id; ValueError if it is not a datasite of the run."""
        try:
            return self._by_id[node_id]
        except KeyError:
            raise ValueError(f"node {node_id} is not a datasite of this run: {', '.join(self.emails)}") from None
