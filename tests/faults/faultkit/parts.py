"""Large messages in small parts: an app that echoes arrays, and a storage with a separate copy for each participant.

One copy can be late (files are withheld), wrong (bytes are altered) or full, while the other copies are correct. A sync
service can leave the folder of one machine in such a state.
"""

import threading
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pytest
from faultkit.app import journal_of
from faultkit.federation import Federation
from faultkit.storage import POLL_INTERVAL, MemoryStorage, carries_message
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from waiting import eventually

from syft_flwr._crypto.segments import sealed_size
from syft_flwr.errors import NotFoundError, StorageFullError, TooLargeError
from syft_flwr.transport import syftbox
from syft_flwr.transport._syftbox.pace_state import LinkSpeed
from syft_flwr.transport.base import Data
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport

#: Plaintext bytes of one object.
PART = 10_000


def use_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SyftBox transports write small objects that are not pushed, and no array inline, so that parts can be late."""
    for size, value in {"_PART_SIZE": PART, "_INLINE_SIZE": 0, "_PUSHED_MESSAGE": 0}.items():
        monkeypatch.setattr(syftbox, size, value)
    use_equal_parts(monkeypatch)


def use_equal_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SyftBox transports cut messages as on a fast link, although no push has shown that it is fast."""
    monkeypatch.setattr(syftbox, "_BY_LINK", {link: {} for link in LinkSpeed})


class Copy(MemoryTransport):
    """The transport of one participant, and the faults of its copy."""

    def __init__(self, network: MemoryNetwork, email: str) -> None:
        super().__init__(network, email)
        #: Name and size of every object, request and response that was written here, in order.
        self.written: list[tuple[str, int]] = []
        #: By name, the bytes that a read returns in place of the true ones.
        self.altered: dict[str, bytes] = {}
        #: Called with the number, from 1, of each write of an object, request or response. False lets that write fail.
        self.has_room: Callable[[int], bool] = lambda _: True
        self.free: int | None = None
        self._attempts = 0
        self._withheld: tuple[str, ...] = ()
        self._released: set[str] = set()
        self._counting = threading.Lock()

    def withhold(self, *texts: str) -> None:
        """Hide each file with one of ``texts`` in its name, as if it had not arrived yet. Without texts, show all files."""
        hidden, self._withheld, self._released = self._withheld, texts, set()
        for name in [name for name in self._network.files if any(text in name for text in hidden)]:
            self._network.notify(name)

    def release(self, name: str) -> None:
        """Show one of the withheld files."""
        self._released.add(name)
        self._network.notify(name)

    def count_from_now(self) -> None:
        """Clear the list of written files, and count the writes from 1 again."""
        with self._counting:
            self.written.clear()
            self._attempts = 0

    def objects(self) -> list[int]:
        """Return the sizes of the written objects, the largest first."""
        with self._counting:
            return sorted((size for name, size in self.written if name.endswith(".blob")), reverse=True)

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        content = data if isinstance(data, bytes) else b"".join(bytes(buffer) for buffer in data)
        counted = carries_message(name)
        with self._counting:
            self._attempts += counted
            room = not counted or self.has_room(self._attempts)
        if not room:
            raise StorageFullError(f"no room left to write {name}", hint="Free disk space, then start again.")
        super().put(name, content, readers=readers, replace=replace)
        if counted:
            with self._counting:
                self.written.append((name, len(content)))

    def get(self, name: str, *, max_size: int) -> bytes:
        if name not in self._released and any(text in name for text in self._withheld):
            raise NotFoundError(f"{name} is not there")
        content = super().get(name, max_size=self.properties.max_file_size)
        content = self.altered.get(name, content)
        if len(content) > max_size:
            raise TooLargeError(f"{name} has {len(content)} bytes; at most {max_size} are accepted")
        return content

    def free_space(self) -> int:
        return super().free_space() if self.free is None else self.free


class Copies(MemoryStorage):
    """A storage with small parts, and the :class:`Copy` of each participant."""

    def __init__(self, part_size: int = PART) -> None:
        self.network = MemoryNetwork(poll_interval=POLL_INTERVAL, part_size=part_size)
        self._copies: dict[str, Copy] = {}

    def open(self, email: str) -> Copy:
        return self._copies.setdefault(email, Copy(self.network, email))

    def __getitem__(self, email: str) -> Copy:
        return self._copies[email]

    def objects(self, owner: str = "") -> list[str]:
        """Return the names of all objects in the storage, or of those of one owner."""
        return [name for name in self.names() if name.endswith(".blob") and name.startswith(owner)]

    def wait_until_empty(self, owner: str = "") -> None:
        """Wait until the storage has no objects, or no objects of one owner."""
        eventually(lambda: not self.objects(owner), f"no object of {owner or 'any participant'}")


def model(*sizes: int, seed: int | None = None) -> ArrayRecord:
    """Return arrays of random bytes with these sizes. Each buffer is 128 bytes longer, for the header of numpy."""
    random = np.random.default_rng(seed)
    return ArrayRecord({f"layer {n}": Array(random.integers(0, 256, size, np.uint8)) for n, size in enumerate(sizes)})


def bytes_of(record: ArrayRecord) -> list[bytes]:
    return [array.data for array in record.values()]


def part_sizes(*totals: int) -> list[int]:
    """Return the sizes of the object files for messages with so many bytes of buffers, the largest first."""
    sizes = [min(PART, total - start) for total in totals for start in range(0, total, PART)]
    return sorted(map(sealed_size, sizes), reverse=True)


def echo(message: Message, context: Context) -> RecordDict:
    return RecordDict({"arrays": message.content["arrays"]})


def echo_at_the_gate(message: Message, context: Context) -> RecordDict:
    journal_of(context).wait_at_gate()
    return RecordDict({"arrays": message.content.array_records.get("arrays", ArrayRecord())})


def make_app(*behaviours: Callable[[Message, Context], RecordDict]) -> ClientApp:
    """Return an app that notes each call in its journal, then runs the behaviour that the message names."""
    app = ClientApp()
    known = {behaviour.__name__: behaviour for behaviour in (echo, echo_at_the_gate, *behaviours)}

    @app.query()
    def query(message: Message, context: Context) -> Message:
        journal_of(context).note(message=message.metadata.message_id)
        content = known[str(message.content["ask"]["behaviour"])](message, context)
        return Message(content, reply_to=message)

    return app


def exchange(
    federation: Federation, record: ArrayRecord, *emails: str, behaviour: str = "echo", timeout: float = 30.0
) -> list[Message]:
    """Send arrays to these data owners, by default to all. Wait as an app does, and return one reply for each."""
    assert federation.grid is not None
    messages = federation.messages(behaviour, *emails, arrays=record)
    return list(federation.grid.send_and_receive(messages, timeout=timeout))


def assert_echo(reply: Message, record: ArrayRecord) -> None:
    """Check that the reply has exactly these arrays. Raise AssertionError with the reason if it is an error."""
    assert not reply.has_error(), reply.error.reason
    echoed: Any = reply.content["arrays"]
    assert list(echoed) == list(record)
    assert bytes_of(echoed) == bytes_of(record)
