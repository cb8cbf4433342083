"""Copies objects between the transport and a worker that cannot open the transport itself.

Any process can open a folder that SyftBox synchronises. But only one process can use a Google Drive: it holds the login, the
list of the peers' files and the position of its next file. So the client downloads the objects of a request to
a local folder that has the layout of the shared storage. The worker reads and writes there, and the client uploads the
objects of the reply.
"""

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire import Body, Header, failures
from syft_flwr.clock import Clock
from syft_flwr.config.user_config import UserConfig
from syft_flwr.disk_errors import no_room
from syft_flwr.errors import SyftFlwrError, TransportError
from syft_flwr.files import chunks_of, open_folder
from syft_flwr.fl_orchestrator.app_runner import AppReply
from syft_flwr.fl_orchestrator.stopwatch import Stopwatch
from syft_flwr.log import logger
from syft_flwr.private_files import make_private_folder
from syft_flwr.text import message_label
from syft_flwr.transport.base import Transport
from syft_flwr.transport.syftbox import SyftBoxTransport

#: A poll interval in seconds. It has no effect, because this transport is never watched.
_NO_POLLING = 3.0
#: Seconds between two attempts to send a reply. The reply is not dropped, because its work may have taken days.
_TRY_AGAIN = 30.0


class Worker(Protocol):
    """Runs the app on requests. :class:`WorkerProcess` implements it."""

    def load(self) -> str: ...
    def warm_up(self) -> None: ...
    def run(self, header: Header, body: Body, context_name: str, run_config: UserConfig) -> AppReply: ...
    def interrupt(self, message_id: str) -> None: ...
    def rest(self) -> bool: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...


def open_near(folder: Path, email: str) -> SyftBoxTransport:
    """Open the local folder for the exchange of objects with a worker."""
    return SyftBoxTransport(folder, email, poll_interval=_NO_POLLING)


class RelayedWorker:
    """A worker that exchanges objects through a local folder.

    Args:
        worker: the worker that reads and writes the local folder.
        near: the local folder, opened as a transport.
        folder: the path of the local folder, which has no other content.
        mine: the objects of this data owner, in the transport.
        theirs: the objects of the aggregator, in the transport.
        clock: the clock for retries.
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
        #: The id of the last request that was withdrawn.
        self._withdrawn = ""

    def load(self) -> str:
        return self._worker.load()

    def warm_up(self) -> None:
        self._worker.warm_up()

    def run(self, header: Header, body: Body, context_name: str, run_config: UserConfig) -> AppReply:
        """Download the objects of a request, run the worker on it, and upload the objects of the reply.

        Args and result are those of :meth:`AppRunner.run`. An error of the transport or disk becomes a reply with an error.
        """
        reply = None
        watch = Stopwatch(self._clock)
        try:
            with watch.part("download"):
                self._bring(header, body)
            if self._withdrawn != header.id:
                reply = self._worker.run(header, body, context_name, run_config)
                self._send(header, reply.body)
        except SyftFlwrError as error:
            logger.error(
                "{} failed; the client continues: {}",
                message_label(header.id, header.run, header.app),
                error.diagnose(),
            )
            # The work on a reply that cannot be sent was done.
            seconds = reply.body.manifest.seconds if reply else None
            answer = failures.of_error(error, seconds=seconds).spent(**watch.seconds)
            return AppReply(answer, context_name, reply.server_round if reply else "")
        finally:
            self._clear()
        if reply is None:
            return AppReply(failures.withdrawn_early(), context_name)
        return replace(reply, body=reply.body.spent(**watch.seconds))

    def _bring(self, header: Header, body: Body) -> None:
        needed = sum(self._theirs.file_size(ref) for ref in body.manifest.objects)
        if needed and self._near.free_space() < needed + self._near.properties.reserve:
            raise no_room("the objects of a request")
        for ref in body.manifest.objects:
            if self._withdrawn == header.id:
                return
            *folders, leaf = self._theirs.names.object(self._theirs.owner, ref.id).split("/")
            # The app can write here, so symbolic links in the path are not followed.
            with open_folder(self._datasites, folders, create_mode=0o700):
                self._theirs.keep(ref, self._datasites.joinpath(*folders, leaf))

    def _send(self, header: Header, answer: Body) -> None:
        for ref in answer.manifest.objects:
            name = self._mine.names.object(self._mine.owner, ref.id)
            while not (self._withdrawn == header.id or self._sent(name, header, self._mine.file_size(ref))):
                deadline = self._clock.monotonic() + _TRY_AGAIN
                with self._changed:
                    while not self._is_over(header) and self._clock.monotonic() < deadline:
                        self._clock.wait_until(self._changed, deadline)

    def _sent(self, name: str, header: Header, size: int) -> bool:
        """Send one object; return False if a retry may succeed before the request expires."""
        try:
            with self._near.open(name, max_size=size) as file:
                self._mine.transport.put(name, chunks_of(file), readers=[header.sender])
        except TransportError as error:
            if not error.transient or self._is_over(header) or self._clock.now() >= header.expires:
                raise
            label = message_label(header.id, header.run, header.app)
            logger.warning(
                "the reply to {} is not sent yet; retrying in {:.0f} s: {}", label, _TRY_AGAIN, error.diagnose()
            )
            return False
        return True

    def _is_over(self, header: Header) -> bool:
        return self._killed or self._withdrawn == header.id

    def _clear(self) -> None:
        try:
            if self._datasites.is_symlink() or self._datasites.is_file():
                self._datasites.unlink()
            shutil.rmtree(self._datasites, ignore_errors=True)
            make_private_folder(self._datasites)
        except OSError as error:
            # If the next message needs the folder, it reports an error of its own.
            logger.warning("{} cannot be emptied: {}; check its permissions", self._datasites, error.strerror)

    def interrupt(self, message_id: str) -> None:
        """End the work and the transfers for a request that was withdrawn. Safe from any thread."""
        with self._changed:
            self._withdrawn = message_id
            self._changed.notify_all()
        self._worker.interrupt(message_id)

    def rest(self) -> bool:
        return self._worker.rest()

    def kill(self) -> None:
        """End the worker and a pending upload now. Safe from any thread."""
        self._worker.kill()
        with self._changed:
            self._killed = True
            self._changed.notify_all()

    def close(self) -> None:
        self._worker.close()
        self._near.close()
