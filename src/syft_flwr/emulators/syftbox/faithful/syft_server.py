"""The emulated SyftBox server: an index of the store, permissions, and the distribution of pushes.

Rules, as in SyftBox's ``internal/server``:

* A push goes to all receivers at once, and to the store after that (``handleFileWrite``). There is no acknowledgement.
* A refusal waits for a place in the queue of its receiver, other than a push. Meanwhile the server handles no push of
  any client (``SendMessage``).
* A client sees a file when the index has it, which is after the store (``afterPutObject``).
* The index is replaced by a listing of the store at the start, and at each interval (``buildIndex``). A file that was
  put while the listing ran disappears until the next one.
* Path segments of the server's own addresses are refused on upload, but not on a push (``IsReservedPath``).
"""

import threading
from collections.abc import Iterable
from typing import BinaryIO

from syft_flwr.emulators.syftbox.acl import MAX_FILE_SIZE, Level, Permissions, parse_rules
from syft_flwr.emulators.syftbox.faithful.frames import Frame
from syft_flwr.emulators.syftbox.faithful.lives import Life, LifeEndedError, ServerDownError
from syft_flwr.emulators.syftbox.faithful.machinery import Machinery
from syft_flwr.emulators.syftbox.faithful.object_store import ObjectStore, StoredObject, StoreFailedError
from syft_flwr.emulators.syftbox.faithful.websocket import Websocket
from syft_flwr.emulators.syftbox.faithful.windows import Window
from syft_flwr.emulators.syftbox.schedule import Schedule
from syft_flwr.emulators.syftbox.sync_names import is_in_datasite, is_permissions
from syft_flwr.emulators.syftbox.traffic import How, Record, SyncOutcome
from syft_flwr.errors import MalformedError, NotFoundError, RefusedError
from syft_flwr.log import logger

_RESERVED = frozenset({"api", ".well-known", "_internal"})


class SyftServer:
    """The server. A stop breaks all connections and the work of the moment; index and store survive it."""

    def __init__(self, store: ObjectStore, machinery: Machinery) -> None:
        self.store = store
        self.life = Life(ServerDownError)
        self.life.ended = True
        self.index: dict[str, StoredObject] = {}
        self._machinery = machinery
        self._waits = machinery.waits
        self._durations = machinery.durations
        self._lock = threading.Lock()
        self._permissions = Permissions(faithful=True)
        self._sockets: list[Websocket] = []
        self._puts: list[threading.Thread] = []
        self._rebuilds = Schedule(machinery.waits.clock, "syftbox index")
        #: Whether a refusal waits for a place.
        self._is_stuck = False

    def start(self) -> None:
        if not self.life.ended:
            return
        self.life = Life(ServerDownError)
        self.rebuild_index()
        with self._lock:
            self._permissions = Permissions(faithful=True)
        for name in filter(is_permissions, list(self.index)):
            self._apply_permissions(name)
        self._rebuilds.start()
        self._plan_rebuild()

    def stop(self) -> None:
        """Stop as after a kill: pushes that the store does not have are lost, and all connections break."""
        if self.life.ended:
            return
        self._waits.end(self.life)
        for socket in self._open_sockets():
            socket.close()
        self._rebuilds.stop()
        for thread in self._running_puts():
            thread.join()

    def is_idle(self) -> bool:
        return not self._running_puts()

    def view(self, user: str) -> dict[str, StoredObject]:
        self._reach(user)
        with self._lock:
            return {name: each for name, each in self.index.items() if self._may(user, name, Level.READ)}

    def may_upload(self, user: str, name: str) -> None:
        """Check an upload before its body is read.

        Raises:
            RefusedError: the user may not write the file, or the name is not allowed.
        """
        self._reach(user)
        reserved = not is_permissions(name) and any(part.lower() in _RESERVED for part in name.split("/")[1:])
        if reserved or not is_in_datasite(name) or not self.allows(user, name, Level.WRITE):
            raise RefusedError(
                f"{user} may not write {name}",
                hint="Ask the owner of the datasite to allow it in a syft.pub.yaml file.",
            )

    def upload(self, user: str, name: str, content: Iterable[bytes], life: Life) -> StoredObject:
        """Store an uploaded file and enter it into the index.

        Raises:
            StoreFailedError: the store failed, or took too long.
        """
        return self._put(user, name, content, self._durations.reply, life)

    def open(self, user: str, name: str, life: Life) -> BinaryIO:
        """Open the present content of a file, which can be newer than the view.

        Raises:
            NotFoundError: the store has no such file.
            StoreFailedError: the index has no such file, or the store did not reply in time.
        """
        self._reach(user)
        with self._lock:
            if name not in self.index or not self._may(user, name, Level.READ):
                raise StoreFailedError
        return self.store.open(name, self._durations.download, life)

    def delete(self, user: str, names: Iterable[str], life: Life) -> set[str]:
        """Delete files one after the other, and return the names of those that the user may not write.

        Raises:
            StoreFailedError: the store did not reply in the time of one call. Some files can be deleted then.
        """
        self._reach(user)
        due, refused = self._machinery.now() + self._durations.reply, set()
        for name in names:
            if self.allows(user, name, Level.WRITE):
                self.store.delete(name, due - self._machinery.now(), life, self.life)
                self._forget(name)
            else:
                refused.add(name)
        return refused

    def allows(self, user: str, name: str, level: Level) -> bool:
        with self._lock:
            return self._may(user, name, level)

    def connect(self, socket: Websocket) -> None:
        """Accept the connection of a client.

        Raises:
            ServerDownError: the server does not run, or the client is offline.
        """
        self._reach(socket.email)
        with self._lock:
            self._sockets = [*(one for one in self._sockets if not one.life.ended), socket]

    def receive(self, frame: Frame, socket: Websocket) -> None:
        """Store a push and send it to all others that may read it; or refuse it.

        Raises:
            LifeEndedError: the server or the connection ended while another push was handled.
        """
        self._waits.until(socket.life, self.life, ready=lambda: not self._is_stuck)
        if not self.allows(frame.sender, frame.name, Level.WRITE):
            self._refuse(frame, socket)
            return
        put = threading.Thread(target=self._store_push, args=(frame, self.life), name="syftbox put", daemon=True)
        with self._lock:
            # Started in the lock: a look at the running ones drops a thread that has not started.
            put.start()
            self._puts.append(put)
        self._machinery.traffic.add(
            Record(frame.name, len(frame.content), frame.sender, "", How.REALTIME, SyncOutcome.ACCEPTED)
        )
        for other in self._open_sockets():
            if other.email != frame.sender and self.allows(other.email, frame.name, Level.READ):
                other.deliver(frame)

    def rebuild_index(self) -> None:
        """Replace the index by a listing of the store. Rules that were read before stay in force."""
        listing = self.store.listing(self.life)
        self._machinery.windows.stand("", Window.LISTING, "", self.life)
        with self._lock:
            self.index = listing

    def _refuse(self, frame: Frame, socket: Websocket) -> None:
        refusal = Frame(frame.name, frame.etag, b"", frame.sender, refused=True)
        with self._waits.changed:
            self._waits.until(socket.life, self.life, ready=lambda: not self._is_stuck)
            self._is_stuck = True
            try:
                self._waits.until(socket.life, self.life, ready=lambda: socket.deliver(refusal))
            finally:
                self._is_stuck = False
                self._waits.notify()

    def _plan_rebuild(self) -> None:
        self._rebuilds.at(self._machinery.now() + self._durations.index, self._rebuild_again)

    def _rebuild_again(self) -> None:
        try:
            self.rebuild_index()
        except LifeEndedError:
            return
        self._plan_rebuild()

    def _store_push(self, frame: Frame, life: Life) -> None:
        try:
            self._put(frame.sender, frame.name, (frame.content,), self._durations.put, life)
        except (StoreFailedError, LifeEndedError) as error:
            logger.debug("SyftBox emulator: the push of {} is lost: {}", frame.name, type(error).__name__)

    def _forget(self, name: str) -> None:
        with self._lock:
            self.index.pop(name, None)
            if is_permissions(name):
                self._permissions.remove(name.rpartition("/")[0])

    def _put(self, user: str, name: str, content: Iterable[bytes], limit: float, life: Life) -> StoredObject:
        stored = self.store.put(name, content, user, limit, life, self.life)
        with self._lock:
            self.index[name] = stored
        if is_permissions(name):
            self._apply_permissions(name)
        return stored

    def _apply_permissions(self, name: str) -> None:
        try:
            with self.store.open(name, self._durations.reply, self.life) as file:
                rule_set = parse_rules(file.read(MAX_FILE_SIZE + 1), name)
        except (MalformedError, NotFoundError, StoreFailedError) as error:
            logger.warning("{}; the earlier rules of this folder apply until the file is corrected", error)
            return
        with self._lock:
            self._permissions.put(name.rpartition("/")[0], rule_set)

    def _reach(self, user: str) -> None:
        self.life.check()
        if not self._machinery.link.is_online(user):
            raise ServerDownError

    def _may(self, user: str, name: str, level: Level) -> bool:
        return self._permissions.allow(user, name, level)

    def _open_sockets(self) -> list[Websocket]:
        with self._lock:
            return [socket for socket in self._sockets if not socket.life.ended]

    def _running_puts(self) -> list[threading.Thread]:
        with self._lock:
            self._puts = [put for put in self._puts if put.is_alive()]
            return list(self._puts)
