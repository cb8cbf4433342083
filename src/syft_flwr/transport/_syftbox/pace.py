"""The pace of one data folder: when a file may appear there under a name that the SyftBox daemon pushes.

The daemon reads a pushed file at once and puts it into a queue of 8. A file for which the queue has no room waits for a scan,
like every file without a pushed name. A push has no acknowledgement: if the link is too slow or breaks, the daemon
takes the file for one that was deleted elsewhere, and deletes it here. So this module

* estimates when the files in the queue leave it, and lets a large file wait for its turn;
* lets only the first large files of a message follow as fast as the queue takes them, and spreads the others;
* remembers the large files that were pushed. If one of them is absent, its bytes were not delivered, so it is written
  again without a push. After two such losses, no large file is pushed for some minutes, and after each further one for
  twice as long.

All processes of the data folder share this state: a small file beside the staging folders, with a lock. Its times are
those of the machine's monotonic clock, which starts again at a reboot.
"""

import contextlib
import hashlib
import math
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.errors import NotFoundError, TransportError
from syft_flwr.forks import close_in_children, close_now, without_fork
from syft_flwr.locks import unlock, wait_for_lock
from syft_flwr.log import logger
from syft_flwr.private_files import open_private
from syft_flwr.transport._disk import read_bounded
from syft_flwr.transport._syftbox.pace_state import (
    COUNTED,
    KEY_SIZE,
    PROBE_SIZE,
    STATE_SIZE,
    LinkSpeed,
    PaceState,
    PushFacts,
)

#: Bytes of the largest file that one push carries: the frame has at most 4 MiB, with the file in base64.
PUSHED_SIZE = 3_140_000
#: A file up to this size is always pushed: a slow link can carry it, too.
SMALL = 32_768

#: Seconds for which a look at the link is valid.
_LOOK_AGAIN = 1.0


class Pace:
    """Decides when a pushed file may appear in a data folder. Thread-safe.

    Args:
        path: the file with the shared state; it is created when it is needed.
        daemon: a folder that exists if a SyftBox daemon works on the data folder. Without it, nothing waits.
        clock: the clock; its monotonic time must be that of the machine.
    """

    def __init__(self, path: Path, daemon: Path, clock: Clock | None = None) -> None:
        self._path = path
        self._daemon = daemon
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._fd = -1
        close_in_children(self)
        #: The monotonic time of the last look at the link, and its result. One tuple, so that threads see both or none.
        self._looked = -math.inf, LinkSpeed.UNKNOWN
        self._said_unusable = False

    @property
    def link(self) -> LinkSpeed:
        """Return the speed of the link; fast if no daemon works, or if the state cannot be used.

        The result can be a second old. Callers ask often, so it takes no lock.
        """
        now = self._clock.monotonic()
        looked, link = self._looked
        if not 0 <= now - looked < _LOOK_AGAIN:
            link = self._read().link(now) if self.has_daemon() else LinkSpeed.FAST
            # Without the state, nothing can show that the link is fast.
            link = LinkSpeed.FAST if self._said_unusable else link
            self._looked = now, link
        return link

    def _read(self) -> PaceState:
        try:
            return PaceState.decode(read_bounded(self._path, STATE_SIZE), self._clock.monotonic())
        except TransportError as error:
            # Without a file, no push was lost yet.
            if not isinstance(error, NotFoundError):
                self._note_unusable(str(error))
        return PaceState()

    def has_daemon(self) -> bool:
        """Return whether a SyftBox daemon works, or has worked, on the data folder."""
        # If the disk fails, each read and write of a file reports it.
        with contextlib.suppress(OSError):
            return self._daemon.is_dir()
        return False

    def take_turn(self, name: str, size: int, *, absent: bool) -> bool:
        """Wait until a file may appear under a pushed name; return whether the daemon should push it.

        Args:
            name: the name of the file.
            size: its size in bytes.
            absent: whether no file has this name now.
        """
        if not self.has_daemon():
            return True
        large, key = size > SMALL, _key(name)
        with self._changed:
            while True:
                with self._shared() as (state, now):
                    if large and not self._may_push(state, key, now, size=size, absent=absent):
                        return False
                    turn = state.turn(large=large, now=now)
                    if turn <= now:
                        state.enter(size, now, large=large)
                        return True
                self._clock.wait_until(self._changed, turn)

    def remember(self, name: str, size: int) -> None:
        """Record that a file was pushed, so that its absence counts as a loss."""
        if size > SMALL and self.has_daemon():
            with self._shared() as (state, _):
                state.pushed[_key(name)] = PushFacts.PROBE if size >= PROBE_SIZE else PushFacts(0)

    def forget(self, name: str, *, absent: bool) -> None:
        """Forget a file that its writer deletes. If its push was not lost, it was delivered, and ends a series of losses."""
        if not self.has_daemon():
            return
        with self._shared() as (state, now):
            facts = state.pushed.pop(_key(name), PushFacts.LOST)
            if absent and not facts & COUNTED:
                self._note_loss(state, now)
            elif not absent and not facts & PushFacts.LOST:
                if facts & PushFacts.PROBE:
                    state.prove()
                elif not facts & PushFacts.BEFORE_A_LOSS:
                    # Beside a lost push, a slow link can deliver small ones.
                    state.losses = 0

    def _may_push(self, state: PaceState, key: bytes, now: float, *, size: int, absent: bool) -> bool:
        if key in state.pushed and absent:
            if not state.pushed[key] & COUNTED:
                self._note_loss(state, now)
            state.pushed[key] |= PushFacts.LOST
            return False
        return size <= PUSHED_SIZE and not state.is_slow(now)

    def _note_loss(self, state: PaceState, now: float) -> None:
        before = state.is_slow(now)
        state.lose(now)
        if state.is_slow(now) and not before:
            logger.warning(
                "the SyftBox client did not deliver files that it should send at once: its link is slow, or it breaks. "
                "For {:.0f} minutes, files above {} kB are sent with its scans; no action is needed",
                state.slow_for / 60,
                SMALL // 1024,
            )

    @contextlib.contextmanager
    def _shared(self) -> Iterator[tuple[PaceState, float]]:
        """Yield the shared state and the present time. Other threads and processes wait; changes are written at the end.

        If the file cannot be used, that is logged once, and the state is an empty one: no file waits then.
        """
        with self._changed:
            before = self._lock_and_read()
            now = self._clock.monotonic()
            state = PaceState.decode(before or b"", now)
            try:
                yield state, now
                if before is not None:
                    self._save(state, before, now)
            finally:
                if before is not None:
                    unlock(self._fd)

    def _lock_and_read(self) -> bytes | None:
        """Return the locked content of the file; None, without a lock, if it cannot be used."""
        try:
            if self._fd < 0:
                # Another program may have put a pipe there, which must not block.
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                with without_fork():
                    self._fd = open_private(self._path, flags)
            wait_for_lock(self._fd)
            return os.pread(self._fd, STATE_SIZE + 1, 0)
        except OSError as error:
            self._note_unusable(error.strerror)
            self.close()
            return None

    def _save(self, state: PaceState, before: bytes, now: float) -> None:
        after = state.encode()
        if after == before:
            return
        self._looked = now, state.link(now)
        try:
            os.ftruncate(self._fd, STATE_SIZE)
            os.pwrite(self._fd, after, 0)
        except OSError as error:
            self._note_unusable(error.strerror)

    def _note_unusable(self, why: str | None) -> None:
        if not self._said_unusable:
            self._said_unusable = True
            text = (
                "the file with the speed of the SyftBox client ({}) cannot be used, so files are sent at once: {}. "
                "If it is not a file of this user, delete it, then start again."
            )
            logger.warning(text, f"{self._path.parent.name}/{self._path.name}", why)

    def close(self) -> None:
        """Release the file. It is opened again when it is needed."""
        with self._changed, without_fork():
            self._fd = close_now(self._fd)

    def close_in_child(self) -> None:
        """Close the file in a forked child: the lock of a change may be held at this moment."""
        self._fd = close_now(self._fd)


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=KEY_SIZE).digest()
