"""The pace of one data folder: when a file may appear there under a name that the SyftBox daemon pushes.

The daemon reads a pushed file at once and puts it into a queue of 8. A file for which the queue has no room waits for a scan,
like every file without a pushed name. A push has no acknowledgement: if the link is too slow or breaks, the daemon
takes the file for one that was deleted elsewhere, and deletes it here. So this module

* estimates when the files in the queue leave it, and lets a large file wait for its turn;
* remembers the large files that were pushed. If one of them is absent, its bytes were not delivered, so it is written
  again without a push. After two such losses, no large file is pushed for some minutes.

All processes of the data folder share this state: a small file beside the staging folders, with a lock. Its times are
those of the machine's monotonic clock, which starts again at a reboot. Values that cannot be right are dropped.
"""

import contextlib
import hashlib
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.locks import unlock, wait_for_lock
from syft_flwr.transport._disk import translate

#: Bytes of the largest file that one push carries: the frame has at most 4 MiB, with the file in base64.
PUSHED_SIZE = 3_140_000
#: A file up to this size is always pushed: a slow link can carry it, too.
SMALL = 32_768

#: Bytes per second, and seconds for each file, at which the daemon and the server of the trials handled pushes.
_RATE = 29e6
_PER_FILE = 0.001
#: The files in the daemon's queue, and how many of them may be large ones. The others are for small files.
_QUEUE = 8
_LARGE = 6
#: The largest plausible time in seconds until the queue is empty.
_LONGEST = 10.0
#: Losses up to this many seconds after another one have the same cause.
_SAME_CAUSE = 5.0
_ENOUGH_LOSSES = 2
#: Seconds after which one loss is forgotten, and for which nothing large is pushed after several.
_FORGET_AFTER = 600.0
_SLOW_FOR = 300.0
_REMEMBERED = 64
_KEY_SIZE = 8

_HEAD = struct.Struct(f"<{_QUEUE}ddQ")
_FILE = struct.Struct(f"<{_KEY_SIZE}s")
_SIZE = _HEAD.size + _REMEMBERED * _FILE.size
_NO_KEY = bytes(_KEY_SIZE)


@dataclass(slots=True)
class _PaceState:
    #: The times at which the files in the queue leave it, in order.
    leaving: list[float] = field(default_factory=list)
    losses: int = 0
    lost: float = 0.0
    #: The digests of the names of large files that were pushed, the latest last.
    pushed: list[bytes] = field(default_factory=list)

    @classmethod
    def decode(cls, data: bytes, now: float) -> "_PaceState":
        if len(data) != _SIZE:
            return cls()
        *leaving, lost, losses = _HEAD.unpack_from(data)
        keys = (key for (key,) in _FILE.iter_unpack(data[_HEAD.size :]))
        state = cls(sorted(time for time in leaving if now < time < now + _LONGEST))
        state.pushed = [key for key in keys if key != _NO_KEY]
        if 0 < lost <= now and (losses >= _ENOUGH_LOSSES or now - lost < _FORGET_AFTER):
            state.losses, state.lost = losses, lost
        return state

    def encode(self) -> bytes:
        leaving = (self.leaving + [0.0] * _QUEUE)[:_QUEUE]
        keys = (self.pushed[-_REMEMBERED:] + [_NO_KEY] * _REMEMBERED)[:_REMEMBERED]
        return _HEAD.pack(*leaving, self.lost, min(self.losses, 1 << 32)) + b"".join(keys)

    def is_slow(self, now: float) -> bool:
        return self.losses >= _ENOUGH_LOSSES and now - self.lost < _SLOW_FOR

    def turn(self, *, large: bool, now: float) -> float:
        """Return the time from which the queue has room for another file."""
        excess = len(self.leaving) - (_LARGE if large else _QUEUE)
        return self.leaving[excess] if excess >= 0 else now

    def enter(self, size: int, now: float) -> None:
        last = self.leaving[-1] if self.leaving else now
        self.leaving.append(last + _PER_FILE + size / _RATE)

    def lose(self, now: float) -> None:
        if not self.losses or now - self.lost >= _SAME_CAUSE:
            self.losses += 1
        self.lost = now


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

    @property
    def is_slow(self) -> bool:
        """Return whether the link is too slow for large pushes; no push of one should be planned then."""
        if not self._daemon.is_dir():
            return False
        with self._shared() as (state, now):
            return state.is_slow(now)

    def take_turn(self, name: str, size: int, *, absent: bool) -> bool:
        """Wait until a file may appear under a pushed name; return whether the daemon should push it.

        Args:
            name: the name of the file.
            size: its size in bytes.
            absent: whether no file has this name now.

        Raises:
            TransportError: the shared state cannot be used.
        """
        if not self._daemon.is_dir():
            return True
        large, key = size > SMALL, _key(name)
        with self._changed:
            while True:
                with self._shared() as (state, now):
                    if large and not self._may_push(state, key, now, size=size, absent=absent):
                        return False
                    turn = state.turn(large=large, now=now)
                    if turn <= now:
                        state.enter(size, now)
                        state.pushed += [key] if large and key not in state.pushed else []
                        return True
                self._clock.wait_until(self._changed, turn)

    def forget(self, name: str, *, absent: bool) -> None:
        """Forget a file that its writer deletes. If it is still there, it was delivered, and earlier losses do not count."""
        if not self._daemon.is_dir():
            return
        with self._shared() as (state, now):
            if (key := _key(name)) in state.pushed:
                state.pushed.remove(key)
                if absent:
                    self._note_loss(state, now)
                else:
                    state.losses = 0

    def _may_push(self, state: _PaceState, key: bytes, now: float, *, size: int, absent: bool) -> bool:
        if key in state.pushed and absent:
            self._note_loss(state, now)
            return False
        return size <= PUSHED_SIZE and not state.is_slow(now)

    def _note_loss(self, state: _PaceState, now: float) -> None:
        before = state.is_slow(now)
        state.lose(now)
        if state.is_slow(now) and not before:
            logger.warning(
                "the SyftBox client did not deliver files that it should send at once: its link is slow, or it breaks. "
                "For {:.0f} minutes, files above {} kB are sent with its scans; no action is needed",
                _SLOW_FOR / 60,
                SMALL // 1024,
            )

    @contextlib.contextmanager
    def _shared(self) -> Iterator[tuple[_PaceState, float]]:
        """Yield the shared state and the present time. Other threads and processes wait; changes are written at the end."""
        try:
            with self._changed:
                if self._fd < 0:
                    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                    self._fd = os.open(self._path, flags, 0o600)
                wait_for_lock(self._fd)
                try:
                    before = os.pread(self._fd, _SIZE + 1, 0)
                    now = self._clock.monotonic()
                    state = _PaceState.decode(before, now)
                    yield state, now
                    after = state.encode()
                    if after != before:
                        os.ftruncate(self._fd, _SIZE)
                        os.pwrite(self._fd, after, 0)
                finally:
                    unlock(self._fd)
        except OSError as error:
            raise translate(error, self._path.name) from error

    def close(self) -> None:
        """Release the file. It is opened again when it is needed."""
        with self._changed:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1


def _key(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=_KEY_SIZE).digest()
