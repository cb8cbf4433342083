"""The endpoint of one participant in one app: its transport, keys, names, encryption and clock."""

import contextlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property

from syft_flwr._messaging.links import Links
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.ownership import Ownership
from syft_flwr._messaging.trust import Trust
from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError
from syft_flwr.names import AppNames
from syft_flwr.text import message_label
from syft_flwr.transport.base import Transport


@dataclass(frozen=True)
class Endpoint:
    """The transport, keys, names and clock with which one participant exchanges the messages of one app."""

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
        """Return the folder of the objects that this participant writes."""
        return self.objects_of(self.email)

    @cached_property
    def links(self) -> Links:
        """Return the second names of objects. All folders of objects of this endpoint share them."""
        return Links(self.transport, self.names, self.email, self.transport.properties.links, self.clock)

    @cached_property
    def ownership(self) -> Ownership:
        """Return the rule by which a clean-up knows the own files of this participant."""
        return Ownership(self.transport, self.names, self.trust)

    def publish(self, peers: Collection[str], inboxes: Iterable[str]) -> None:
        """Publish the key card for the peers in this app, and prepare the folders of own files.

        Args:
            peers: the participants that read the own objects.
            inboxes: the folders into which this participant writes its requests or its replies.
        """
        self.trust.publish(self.names, readers=peers)
        self.transport.prepare(self.names.pushed_objects(self.email), peers)
        for folder in inboxes:
            # A peer can have a file in its place. The first write into it reports that, for this peer only.
            with contextlib.suppress(TransportError):
                self.transport.prepare(folder, peers)

    def label(self, message_id: str, run: int) -> str:
        """Return the label of a message for log lines."""
        return message_label(message_id, run, self.names.app)

    def objects_of(self, owner: str) -> ObjectFolder:
        """Return the folder of the objects of ``owner``, as this participant sees it."""
        return self.links.objects_of(owner, encryption=self.encryption)
