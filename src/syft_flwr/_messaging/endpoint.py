"""One participant's end of an app: its transport, trust, names, encryption and clock."""

from dataclasses import dataclass

from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.trust import Trust
from syft_flwr.clock import Clock
from syft_flwr.names import AppNames
from syft_flwr.text import message_label
from syft_flwr.transport.base import Transport


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where messages of one app are read and written, and as whom."""

    transport: Transport
    trust: Trust
    names: AppNames
    encryption: bool
    clock: Clock

    @property
    def email(self) -> str:
        return self.trust.email

    @property
    def mine(self) -> ObjectFolder:
        """The objects that this participant writes."""
        return self.objects_of(self.email)

    def label(self, message_id: str, run: int) -> str:
        """Return how log lines name a message."""
        return message_label(message_id, run, self.names.app)

    def objects_of(self, owner: str) -> ObjectFolder:
        """The objects of ``owner``, as this participant sees them."""
        return ObjectFolder(self.transport, self.names, owner, self.encryption)
