"""Brings a request's objects to a worker that has no transport of its own, and takes the answer's objects from it.

A folder that is synced by somebody else can be opened by any process. A drive is one process's: its login, what it knows of
the peers' files, and the place where its next file goes. So the watcher fetches, the worker reads and writes a folder of this
machine that is laid out like the shared storage, and the watcher sends.
"""

import shutil
import threading
from pathlib import Path
from typing import Protocol

from loguru import logger

from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire import Body, Header, failure, reason_of
from syft_flwr.clock import Clock
from syft_flwr.errors import SyftFlwrError, TransportError
from syft_flwr.files import chunks_of, open_folder
from syft_flwr.text import message_label
from syft_flwr.transport.base import Transport
from syft_flwr.transport.syftbox import SyftBoxTransport

#: Seconds; the worker's end is never watched.
_NO_POLLING = 3.0
#: Seconds between two tries to send an answer that cannot be sent; the work that is in it may have taken days.
_TRY_AGAIN = 30.0


class Worker(Protocol):
    """What answers requests; :class:`WorkerProcess` is one."""

    def warm_up(self) -> None: ...
    def run(self, header: Header, body: Body, context_name: str) -> tuple[Body, str]: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...


def open_near(folder: Path, email: str) -> SyftBoxTransport:
    """Open the folder of this machine through which a worker gets and gives objects."""
    return SyftBoxTransport(folder, email, poll_interval=_NO_POLLING)


class RelayedWorker:
    """A worker to which objects are carried.

    Args:
        worker: what reads and writes ``near``.
        near: the worker's end of ``folder``, on this machine.
        folder: the worker's data folder; nothing else is in it.
        mine: this data owner's objects, in the transport.
        theirs: the aggregator's.
    """

    def __init__(
        self, worker: Worker, near: Transport, folder: Path, mine: ObjectFolder, theirs: ObjectFolder, clock: Clock
    ) -> None:
        self._worker = worker
        self._near = near
        self._datasites = folder / "datasites"
        self._mine = mine
        self._theirs = theirs
        self._clock = clock
        self._changed = threading.Condition()
        self._killed = False

    def warm_up(self) -> None:
        self._worker.warm_up()

    def run(self, header: Header, body: Body, context_name: str) -> tuple[Body, str]:
        """Answer one request, as the worker does, with its objects brought and the answer's sent."""
        try:
            self._bring(body)
            answer, context = self._worker.run(header, body, context_name)
            self._send(header, answer)
        except SyftFlwrError as error:
            logger.error("{}: {}", message_label(header.id, header.run, header.app), error.diagnose())
            return failure(reason_of(error), str(error)), context_name
        finally:
            self._clear()
        return answer, context

    def _bring(self, body: Body) -> None:
        for ref in body.manifest.objects:
            *folders, leaf = self._theirs.names.object(self._theirs.owner, ref.id).split("/")
            # The app can write here: a link that it left on the way is not followed.
            with open_folder(self._datasites, folders, create_mode=0o700):
                self._theirs.keep(ref, self._datasites.joinpath(*folders, leaf))

    def _send(self, header: Header, answer: Body) -> None:
        for ref in answer.manifest.objects:
            name = self._mine.names.object(self._mine.owner, ref.id)
            while not self._sent(name, header, self._mine.file_size(ref)):
                deadline = self._clock.monotonic() + _TRY_AGAIN
                with self._changed:
                    while not self._killed and self._clock.monotonic() < deadline:
                        self._clock.wait_until(self._changed, deadline)

    def _sent(self, name: str, header: Header, size: int) -> bool:
        """Send one object; False if that may go better later, and there is time."""
        try:
            with self._near.open(name, max_size=size) as file:
                self._mine.transport.put(name, chunks_of(file), readers=[header.sender])
        except TransportError as error:
            if not error.transient or self._killed or self._clock.now() >= header.expires:
                raise
            label = message_label(header.id, header.run, header.app)
            logger.warning("the answer to {} waits: {}", label, error.diagnose())
            return False
        return True

    def _clear(self) -> None:
        try:
            if self._datasites.is_symlink() or self._datasites.is_file():
                self._datasites.unlink()
            shutil.rmtree(self._datasites, ignore_errors=True)
            self._datasites.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            # The next message says so, if it needs the folder.
            logger.warning("the worker's folder cannot be emptied: {}", error.strerror)

    def kill(self) -> None:
        """End the worker now, and wait for nothing. Safe from any thread."""
        self._worker.kill()
        with self._changed:
            self._killed = True
            self._changed.notify_all()

    def close(self) -> None:
        self._worker.close()
        self._near.close()
