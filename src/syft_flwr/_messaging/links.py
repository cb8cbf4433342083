"""The second names of the objects of one participant in one app: of its own objects, and of those of its peers.

They exist where files can vanish from the shared folder (``Properties.links``). Elsewhere, all methods do nothing.
"""

import math
import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from syft_flwr._messaging.link_folder import LinkFolder
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.own_links import OwnLinks
from syft_flwr._messaging.peer_links import PeerLinks
from syft_flwr.clock import Clock
from syft_flwr.names import AppNames, is_answer_object, is_object_id, run_of
from syft_flwr.shares import leaves_shares
from syft_flwr.transport.base import Transport

#: The folder with the second names of own objects, beside one folder for each peer. An email is never ``own``.
_OWN = "own"
#: Seconds after which a pass looks at no further large peer.
_PASS = 0.5
#: The same for other peers. They need so long only if some of them have very many folders, at the first look.
_PASS_OF_SMALL = 2.0
#: The pause after a pass until the next look at a large peer, as a multiple of the time of this pass.
_PAUSE = 10.0


class Links:
    """Gives the objects of each participant, and their second names. Thread-safe.

    Args:
        transport: the transport of this participant.
        names: the names of the app.
        me: the email of this participant.
        root: the private folder with the second names; None if only the writer of a file deletes it.
        clock: the clock of this participant.
    """

    def __init__(self, transport: Transport, names: AppNames, me: str, root: Path | None, clock: Clock) -> None:
        self._transport = transport
        self._names = names
        self._me = me
        self._root = root
        self._clock = clock
        self._lock = threading.Lock()
        self._own = OwnLinks(transport, names, me, self._folder(root, _OWN), clock) if root else None
        self._peers: dict[str, PeerLinks] = {}
        #: The number of the last look at each peer, and of the last look at all.
        self._looked = Counter[str]()
        self._looks = 0
        #: The monotonic time of the next look at a large peer.
        self._next_large = -math.inf

    def _folder(self, root: Path, owner: str) -> LinkFolder:
        return LinkFolder(root, self._names.app, owner)

    def objects_of(self, owner: str, *, encryption: bool) -> ObjectFolder:
        """Return the folder of the objects of ``owner``, as this participant sees it."""
        own = self._own if owner == self._me else None
        return ObjectFolder(self._transport, self._names, owner, encryption, own=own, arrived=self._of(owner))

    def _of(self, owner: str) -> PeerLinks | None:
        if self._root is None or owner == self._me:
            return None
        with self._lock:
            if owner not in self._peers:
                folder = self._folder(self._root, owner)
                self._peers[owner] = PeerLinks(
                    self._transport, self._names, owner, folder, self._clock, self._has_space
                )
            return self._peers[owner]

    def _has_space(self, owner: str, size: int) -> bool:
        """Return whether further bytes of a peer leave the others the unused part of their shares.

        One half of the space is for all peers in equal shares, and the other half for any of them.
        """
        free = self._transport.free_space() - self._transport.properties.reserve
        used = {each: links.total for each, links in self._known().items()}
        totals = {each: total for each, total in used.items() if total is not None}
        share = (free + sum(totals.values())) // (2 * max(1, len(totals)))
        others = [total for other, total in totals.items() if other != owner]
        return leaves_shares(size, free=free, share=share, others=others)

    def _known(self) -> dict[str, PeerLinks]:
        with self._lock:
            return dict(self._peers)

    def follow(self, owner: str, *, answers: bool, run: int | None = None) -> None:
        """Start to link the arriving objects of a peer, see :meth:`PeerLinks.follow`."""
        if links := self._of(owner):
            links.follow(answers=answers, run=run)

    def note(self, changed: Iterable[str]) -> None:
        """Link the objects of all peers among these changed files."""
        by_owner: dict[str, list[str]] = {}
        for name in changed:
            by_owner.setdefault(name.partition("/")[0], []).append(name)
        for owner, links in self._known().items():
            links.note(by_owner.get(owner, ()))

    def look(self, awaited: Collection[str]) -> None:
        """Link the objects that no event announced, and remove the second names that are not needed any more.

        ``awaited`` are the peers whose objects can arrive now. Peers with few files are looked at each time. The large
        ones take turns in a budget of time for all of them, so that no number of them delays the others.
        """
        wanted = {owner: links for owner, links in self._known().items() if owner in awaited or links.has_any}
        self._look_in_turn({owner: links for owner, links in wanted.items() if not links.is_large}, _PASS_OF_SMALL)
        if self._clock.monotonic() < self._next_large:
            return
        spent = self._look_in_turn({owner: links for owner, links in wanted.items() if links.is_large}, _PASS)
        self._next_large = self._clock.monotonic() + _PAUSE * spent

    def _look_in_turn(self, wanted: Mapping[str, PeerLinks], seconds: float) -> float:
        """Look at these peers, the one with the longest wait first, until this time has passed; return the spent seconds."""
        began = self._clock.monotonic()
        spent = 0.0
        for owner in sorted(wanted, key=lambda owner: self._looked[owner]):
            self._looks += 1
            self._looked[owner] = self._looks
            wanted[owner].look()
            spent = self._clock.monotonic() - began
            if spent >= seconds:
                break
        return spent

    def need(self, owner: str, message_id: str, objects: Iterable[str]) -> None:
        """Keep the objects of a message of a peer until :meth:`release`."""
        if links := self._of(owner):
            links.need(message_id, objects)

    def release(self, owner: str, message_id: str) -> None:
        """Remove the second names that only this message of a peer needed."""
        if links := self._of(owner):
            links.release(message_id)

    def end_run(self, owner: str, run: int) -> None:
        """Remove the second names of the objects of a peer in a run that is over."""
        if links := self._of(owner):
            links.end_run(run)

    def drop_own(self, *, answers: bool, kept: Collection[str]) -> None:
        """Remove the second names of own objects that a crash left: of replies or of requests, except ``kept``."""
        if self._own:
            self._own.drop(answers=answers, kept=kept)

    def leftovers(self, *, answering: bool, kept: Collection[str], runs: Collection[int]) -> Iterator[tuple[str, int]]:
        """Yield the second names that no unfinished run needs, with their sizes.

        Args:
            answering: as a data owner, which writes objects of replies and reads objects of requests; otherwise as an
                aggregator.
            kept: the ids of the own objects that are needed.
            runs: the runs from which objects of peers are needed.
        """
        if self._root is None or self._own is None:
            return
        for leaf, size in self._own.unneeded(answers=answering, kept=kept):
            yield f"{_OWN}/{leaf}", size
        app = self._root / self._names.app
        # A link may lead to other files.
        folders = [path.name for path in app.iterdir() if not path.is_symlink()] if app.is_dir() else []
        for owner in sorted(folders):
            for leaf, size in sorted(self._folder(self._root, owner).sizes().items()):
                if is_object_id(leaf) and is_answer_object(leaf) != answering and run_of(leaf) not in runs:
                    yield f"{owner}/{leaf}", size

    def remove(self, name: str) -> None:
        """Remove a second name of :meth:`leftovers`."""
        owner, _, leaf = name.partition("/")
        if self._root:
            folder = self._folder(self._root, owner)
            folder.remove(leaf)
            folder.prune()

    def clear(self) -> None:
        """Remove the second names of the peers' objects, because the run has ended."""
        for links in self._known().values():
            links.clear()

    def prune(self) -> None:
        """Remove the folders that are empty now."""
        if self._root:
            for owner in (_OWN, *self._known()):
                self._folder(self._root, owner).prune()
