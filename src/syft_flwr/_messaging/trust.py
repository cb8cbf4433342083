"""Trusts the first key of each peer and pins it by email, until a person accepts another key.

* :meth:`Trust.identity_of` is called before each send and at each receipt. If a peer publishes a key other than the
  pinned one, the exchange with that peer stops until a person accepts that very key with :meth:`Trust.accept`.
* A missing key and a changed key are errors that name the peer. No fallback exists.
* If no file of a peer has arrived, the cause is often the sync service and not a missing key, so the text differs.
"""

import contextlib
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from syft_flwr import names
from syft_flwr._crypto.keys import Identity, PublicIdentity
from syft_flwr._messaging.own_card import OwnCard
from syft_flwr._messaging.own_heartbeats import OwnHeartbeats
from syft_flwr._messaging.wire.card import KeyCard, read_card, write_card
from syft_flwr._messaging.wire.limits import MAX_CARD
from syft_flwr._store.peers import HeardRow, PeerRow, Peers
from syft_flwr.clock import Clock
from syft_flwr.errors import (
    ChangedKeyError,
    NotFoundError,
    RemoteProtocolError,
    TransportError,
    TrustError,
    UnknownPeerError,
)
from syft_flwr.log import logger
from syft_flwr.transport.base import Transport

#: The state of the key of a peer. ``unreadable``: the card cannot be read; ``unmet``: a card exists, no key is pinned.
PeerState = Literal["pinned", "verified", "changed", "unreadable", "unmet"]
#: Files of a datasite that are looked at, in search of one that its owner wrote.
_LOOKED_AT = 1_000
_UNREADABLE = "the key card of {} cannot be read: {}. If this stays so, ask {} to start syft-flwr again."


@dataclass(frozen=True, slots=True)
class Peer:
    """A known peer and its fingerprints, for people."""

    email: str
    fingerprint: str
    state: PeerState
    #: None if no key of the peer was ever pinned.
    first_seen: datetime | None
    offered_fingerprint: str | None
    #: The release in its last valid card; empty if that is not known.
    software: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """The fingerprints of a changed key."""

    pinned: str
    published: str


class Trust:
    """The keys of this participant and the pinned keys of its peers. Thread-safe."""

    def __init__(
        self,
        transport: Transport,
        email: str,
        identity: Identity,
        peers: Peers,
        clock: Clock,
        home: Path | None = None,
    ) -> None:
        self.email = email
        self.identity = identity
        self._transport = transport
        self._peers = peers
        self._clock = clock
        self._lock = threading.Lock()
        self._own_heartbeats = OwnHeartbeats(transport, email, identity, home, clock, peers)
        self._own_card = OwnCard(transport, email, identity, home, clock, self._own_heartbeats)
        #: The keys of the last row that was read of each peer: to decode them takes time.
        self._pinned: dict[str, PublicIdentity] = {}
        self._last_card: dict[str, tuple[bytes, KeyCard]] = {}
        #: The app in which the peers' pushed cards are looked for; None until :meth:`publish`.
        self._app: names.AppNames | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._peers.close()

    @property
    def own_fingerprint(self) -> str:
        return self.identity.public.fingerprint

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of the own keys and of each pinned key, by email."""
        pinned = {row.email: PublicIdentity(row.identity).fingerprint for row in self._peers.all()}
        return {self.email: self.own_fingerprint, **pinned}

    def claim(self, app: names.AppNames) -> None:
        """Look at the own public files before the first message: another machine or a lost home shows there, and is told.

        Raises:
            StoreError: another machine takes part in the app with this email now, or the database cannot be read.
        """
        with self._lock:
            self._own_card.claim(app)

    def other_fingerprint(self) -> str:
        """Return the fingerprint in the own key card if its keys are not those of this machine; otherwise an empty text."""
        with self._lock:
            return self._own_card.other_fingerprint()

    def note_accepted(self) -> None:
        """Record that a peer sent a message for the keys of this machine."""
        with self._lock:
            self._own_card.note_accepted()

    def publish(self, app: names.AppNames | None = None, readers: Collection[str] = ()) -> None:
        """Write the key card of this participant to its public folder, for every peer.

        If the transport pushes files, also write a copy for the ``readers`` in this app. It arrives earlier.
        """
        card = write_card(self.email, self.identity)
        self._transport.put(names.card(self.email), card, readers=["*"], replace=True)
        with self._lock:
            self._own_card.note_published()
        if app and self._transport.properties.pushed_size:
            self._transport.put(app.pushed_card(self.email), card, readers=readers, replace=True)
            self._app = app

    def identity_of(self, email: str) -> PublicIdentity:
        """Return the pinned keys of a peer. At the first call for a peer, pin its published keys.

        Raises:
            UnknownPeerError: the peer has published no card yet.
            ChangedKeyError: the peer now publishes other keys.
            MalformedError, SignatureError, AddressError: the card of the peer is not valid.
        """
        with self._lock:
            self._own_card.watch(email)
            offered = self._offered(email)
            return self._compare(email, offered)

    def software_of(self, email: str) -> str:
        """Return the release in the last valid card of a peer that was read, such as ``syft-flwr 1.0.0``.

        Empty if no card was read, or if an older release wrote it. Any participant can state any release.
        """
        known = self._last_card.get(email)
        return known[1].software if known else ""

    def _offered(self, email: str) -> PublicIdentity | None:
        card = self._card_of(email)
        if card is None:
            return None
        known = self._last_card.get(email)
        if known is None or known[0] != card:
            known = self._last_card[email] = (card, read_card(card, email))
        return known[1].keys

    def _card_of(self, email: str) -> bytes | None:
        """Return the key card of a peer from its public folder; if that has not arrived, the pushed copy."""
        for name in (names.card(email), *([self._app.pushed_card(email)] if self._app else [])):
            with contextlib.suppress(NotFoundError):
                return self._transport.get(name, max_size=MAX_CARD)
        return None

    def _compare(self, email: str, offered: PublicIdentity | None) -> PublicIdentity:
        # Read each time: a person may have accepted another key in another process.
        row = self._peers.get(email)
        if row is None:
            if offered is None:
                raise self._no_key(email)
            row = self._peers.pin(email, offered.encoded, self._clock.now())
            logger.info("first key of {} pinned: {}", email, offered.fingerprint)
        pinned = self._pinned.get(email)
        if pinned is None or pinned.encoded != row.identity:
            pinned = self._pinned[email] = PublicIdentity.decode(row.identity)
        if offered is None or offered == pinned:
            return pinned
        if row.offered != offered.encoded:
            self._peers.offer(email, offered.encoded)
        raise ChangedKeyError(
            f"the key of {email} changed: pinned is {pinned.fingerprint}, published is {offered.fingerprint}",
            hint=f"Ask {email} on another channel whether the new fingerprint is right. "
            f"If it is, run: syft-flwr peers accept {email} FINGERPRINT",
        )

    def begin_session(self, app: str, role: str) -> int:
        """Return the number of a new session of this participant, which is higher than that of each earlier one."""
        session = self._peers.begin_session(app, role, self._clock.now())
        self._own_heartbeats.note_session(app, role, session)
        return session

    def look_for_a_copy(self) -> None:
        """Tell, at intervals, that another machine writes heartbeats with the keys of this participant."""
        # Without the lock: this may be called often, and a call of the transport can hang.
        self._own_heartbeats.look_for_a_copy()

    def heard(self, email: str, app: str, role: str) -> HeardRow | None:
        """Return the last heartbeat of a peer that an earlier process or this one recorded."""
        return self._peers.heard(email, app, role)

    def hear(self, email: str, app: str, role: str, row: HeardRow) -> None:
        """Record the last heartbeat of a peer, so that a later process refuses older ones."""
        self._peers.hear(email, app, role, row)

    def peers(self, also: Collection[str] = ()) -> list[Peer]:
        """Return all peers with a pinned key, and the emails of ``also`` with a published card, sorted by email."""
        with self._lock:
            known = [self._describe(row) for row in self._peers.all()]
            unmet = set(also) - {peer.email for peer in known}
            known += [peer for email in unmet if (peer := self._describe_unmet(email))]
        return sorted(known, key=lambda peer: peer.email)

    def _describe(self, row: PeerRow) -> Peer:
        pinned = PublicIdentity(row.identity)
        state: PeerState = "verified" if row.verified else "pinned"
        offered = None
        try:
            offered = self._offered(row.email)
        except (RemoteProtocolError, TransportError) as error:
            logger.warning(_UNREADABLE, row.email, error, row.email)
            state = "unreadable"
        software = self.software_of(row.email)
        if offered is not None and offered != pinned:
            return Peer(row.email, pinned.fingerprint, "changed", row.first_seen, offered.fingerprint, software)
        return Peer(row.email, pinned.fingerprint, state, row.first_seen, None, software)

    def _describe_unmet(self, email: str) -> Peer | None:
        try:
            offered = self._offered(email)
        except (RemoteProtocolError, TransportError) as error:
            logger.warning(_UNREADABLE, email, error, email)
            return None
        return Peer(email, offered.fingerprint, "unmet", None, None, self.software_of(email)) if offered else None

    def verify(self, email: str, fingerprint: str) -> str:
        """Record that a person compared the fingerprint of a peer. Pin the published key if none is pinned.

        Returns the fingerprint of the verified key.

        Raises:
            UnknownPeerError: the peer has published no key.
            ChangedKeyError: the key has another fingerprint. Nothing is pinned.
        """
        with self._lock:
            row = self._peers.get(email)
            known = PublicIdentity(row.identity) if row else self._offered(email)
            if known is None:
                raise self._no_key(email)
            if _bare(fingerprint) != _bare(known.fingerprint):
                raise ChangedKeyError(
                    f"{email}: the fingerprint is {known.fingerprint}, not {fingerprint}",
                    hint=f"Check your typing. If it was right, exchange nothing with {email} until this is clear.",
                )
            self._peers.pin(email, known.encoded, self._clock.now())
            if not self._peers.set_verified(email, known.encoded):
                hint = "Compare the fingerprints again."
                raise ChangedKeyError(f"another key of {email} was pinned just now", hint=hint)
            return known.fingerprint

    def change_of(self, email: str) -> Change:
        """Return the pinned key of a peer and the other one that it publishes now, for a person who compares them.

        Raises:
            UnknownPeerError: no key of the peer is pinned.
            TrustError: the peer publishes no other key.
        """
        with self._lock:
            row = self._peers.get(email)
            if row is None:
                raise UnknownPeerError(
                    f"no key of {email} is pinned",
                    hint="A first key needs no acceptance. List the known keys with: syft-flwr peers list",
                )
            offered = self._offered(email)
            if offered is None or offered.encoded == row.identity:
                raise TrustError(
                    f"{email} publishes no other key than the pinned one",
                    hint="List the known keys with: syft-flwr peers list",
                )
            return Change(PublicIdentity(row.identity).fingerprint, offered.fingerprint)

    def accept(self, email: str, fingerprint: str) -> str:
        """Pin the key of a peer that has this fingerprint, also in place of another key, and record it as verified.

        A card that arrives in the meantime changes nothing: only the key that the person compared is pinned.
        Returns its fingerprint.

        Raises:
            UnknownPeerError: the peer has published no key.
            ChangedKeyError: no known key of the peer has this fingerprint. Nothing is pinned.
        """
        with self._lock:
            others = []
            for known in self._known_keys(email):
                if _bare(fingerprint) == _bare(known.fingerprint):
                    self._peers.accept(email, known.encoded, self._clock.now())
                    return known.fingerprint
                others.append(known.fingerprint)
            if not others:
                raise self._no_key(email)
            raise ChangedKeyError(
                f"no key of {email} has the fingerprint {fingerprint}; the known ones have {' and '.join(dict.fromkeys(others))}",
                hint=f"Check your typing. If it was right, exchange nothing with {email} until this is clear.",
            )

    def _known_keys(self, email: str) -> Iterator[PublicIdentity]:
        """Yield the keys of a peer: of the last card that was read, of the database, and of the card now."""
        # The shown card first: another one may have taken its place since.
        if shown := self._last_card.get(email):
            yield shown[1].keys
        row = self._peers.get(email)
        if row:
            yield from (PublicIdentity(encoded) for encoded in (row.offered, row.identity) if encoded)
        if published := self._offered(email):
            yield published

    def hears(self, email: str) -> bool:
        """Return whether at least one file of a peer has arrived from its datasite; also True if that cannot be read."""
        try:
            # First where no other participant can write: others may have very many files in the inboxes.
            folders = (f"{email}/public/", f"{email}/")
            found = chain.from_iterable(islice(self._transport.list(folder), _LOOKED_AT) for folder in folders)
            return any(names.writer_of(entry.name) == email for entry in found)
        except TransportError:
            # The same trouble is reported by the calls that need the files.
            return True

    def _no_key(self, email: str) -> UnknownPeerError:
        if self.hears(email):
            return UnknownPeerError(f"{email} has published no key yet", hint=f"Ask {email} to start syft-flwr once.")
        return UnknownPeerError(
            f"nothing from the datasite of {email} has arrived yet",
            hint=f"Ask {email} to start syft-flwr. If it runs, compare both machines: the sync service must run, use the "
            "same server, and have no subscription that blocks the other.",
        )


def _bare(fingerprint: str) -> str:
    return "".join(fingerprint.split()).replace("-", "").upper()
