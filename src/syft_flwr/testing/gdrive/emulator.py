"""The emulator as a whole: accounts, a server, and the strings that a test pulls."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.testing.gdrive.assumptions import Assumptions
from syft_flwr.testing.gdrive.faults import Fault
from syft_flwr.testing.gdrive.gate import Gate
from syft_flwr.testing.gdrive.identifiers import permission_id
from syft_flwr.testing.gdrive.lag import Lag
from syft_flwr.testing.gdrive.latency import Latency
from syft_flwr.testing.gdrive.meters import Meter, RequestRecord
from syft_flwr.testing.gdrive.permissions import grant
from syft_flwr.testing.gdrive.quota import Limits
from syft_flwr.testing.gdrive.records import Content, File
from syft_flwr.testing.gdrive.server import Server
from syft_flwr.testing.gdrive.service import Service
from syft_flwr.testing.gdrive.sharing import ROLES
from syft_flwr.testing.gdrive.tokens import FULL

#: The OAuth client of a token file unless told otherwise.
_CLIENT = "1234567890-emulator.apps.googleusercontent.com"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file as it lies there now."""

    id: str
    name: str
    owner: str
    mime_type: str
    size: int
    md5: str | None
    trashed: bool
    parents: tuple[str, ...]
    properties: dict[str, str]


class Emulator:
    """Google Drive for several accounts on loopback.

    It runs from :meth:`start`, or from entering it as a context, until :meth:`close`. All methods may be called from any
    thread, also while clients talk to it.

    Args:
        users: emails of the accounts.
        port: 0 to have one chosen.
        seed: ids and chance depend on it and on nothing else.
        clock: what all times, limits and waits go by.
        assumptions: how it behaves where the real service is not known.
    """

    def __init__(
        self,
        users: Iterable[str] = (),
        port: int = 0,
        seed: int = 0,
        clock: Clock | None = None,
        *,
        assumptions: Assumptions | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self._gate = Gate(clock)
        self._service = Service(clock, seed, assumptions or Assumptions())
        for email in users:
            self.add_user(email)
        self._server = Server(port, self._service, self._gate, seed)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        self._server.start()

    def close(self) -> None:
        """End everything; may be called twice."""
        self._server.close()

    # Accounts

    def add_user(self, email: str) -> None:
        with self._service.lock:
            if email.lower() not in self._service.drive.accounts:
                self._service.drive.add_account(email.lower())

    def write_token(self, email: str, path: Path | str, scopes: Iterable[str] = FULL, *, client: str = _CLIENT) -> None:
        """Write what ``Credentials.from_authorized_user_file`` reads, readable by its owner only.

        Args:
            client: id of the OAuth client; what one client keeps in ``appProperties`` others do not see.
        """
        with self._service.lock:
            self._service.tokens.write(email.lower(), Path(path), scopes, client)

    def expire_tokens(self, email: str | None = None) -> None:
        """Let the access tokens of a user, or of all, be refused; they can be refreshed."""
        with self._service.lock:
            self._service.tokens.expire(email)

    def revoke_token(self, email: str) -> None:
        """Let a user's sign-in be over for good."""
        with self._service.lock:
            self._service.tokens.revoke(email)

    def expire_uploads(self) -> None:
        """Let all upload sessions be too old."""
        with self._service.lock:
            self._service.uploads.expire()

    # What was asked

    def meter(self, email: str) -> Meter:
        """Return a user's counters as they are now."""
        with self._service.lock:
            return self._service.meters.of(email).copy()

    def reset_meters(self) -> None:
        """Start counting anew, and forget the log of requests."""
        with self._service.lock:
            self._service.meters.reset()

    @property
    def requests(self) -> list[RequestRecord]:
        with self._service.lock:
            return list(self._service.meters.requests)

    # What goes wrong

    def inject(self, fault: Fault) -> Fault:
        """Set a fault, and return it, for ``fault.fired``."""
        with self._service.lock:
            self._service.faults.add(fault)
        return fault

    def heal(self) -> None:
        """Remove all faults, and let go what they hold."""
        with self._service.lock:
            self._service.faults.clear()
        self._gate.release()

    @property
    def latency(self) -> Latency:
        return self._server.latency

    @latency.setter
    def latency(self, latency: Latency) -> None:
        self._server.latency = latency

    @property
    def limits(self) -> Limits:
        return self._service.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        with self._service.lock:
            self._service.limits = limits

    @property
    def lag(self) -> Lag:
        return self._service.lag

    @lag.setter
    def lag(self, lag: Lag) -> None:
        """Let what is done from now on be seen late; what was done before is seen at once."""
        with self._service.lock:
            self._service.drive.settle()
            self._service.lag = lag

    def set_lag(self, email: str, lag: Lag) -> None:
        """Give a user a lag of their own; what was done before is seen at once, by all."""
        with self._service.lock:
            self._service.drive.settle()
            self._service.lags.own[email] = lag

    def set_latency(self, email: str, latency: Latency) -> None:
        """Give a user a latency of their own."""
        self._server.latencies[email] = latency

    def set_storage(self, email: str, limit: int | None) -> None:
        """Say how many bytes a user may own."""
        with self._service.lock:
            self._service.quota.storage[email] = limit

    def pause(self) -> None:
        """Hold all requests that have been read until :meth:`resume`."""
        self._gate.pause()

    def resume(self) -> None:
        self._gate.resume()

    def release(self) -> None:
        """Let go the requests that a ``stall`` holds."""
        self._gate.release()

    def wait_until_stalled(self, count: int = 1, timeout: float = 10.0) -> bool:
        """Wait until so many requests are held by a ``stall``; False after ``timeout`` real seconds."""
        return self._gate.wait_until_stalled(count, timeout)

    # What lies there, and what others do to it

    def files(self, owner: str | None = None) -> list[FileRecord]:
        """Return what lies there now, also in the trash, without the roots; the oldest first."""
        with self._service.lock:
            drive = self._service.drive
            roots = {account.root for account in drive.accounts.values()}
            kept = [file for file in drive.store.current() if file.id not in roots and owner in {None, file.owner}]
            return [_record(file, trashed=drive.access.is_trashed(file)) for file in kept]

    def content(self, file_id: str) -> bytes:
        """Return what a file contains."""
        with self._service.lock:
            file = self._get(file_id)
            return file.content.data if file.content else b""

    def trash(self, file_id: str, *, trashed: bool = True) -> None:
        """Do what its owner does with a click."""
        self._change(file_id, trashed=trashed)

    def delete(self, file_id: str) -> None:
        """Remove a file for good, as its owner."""
        with self._service.lock:
            self._service.drive.remove(self._get(file_id))

    def overwrite(self, file_id: str, content: bytes, *, by: str | None = None) -> None:
        """Put other content into a file, as its owner or whoever can write it."""
        with self._service.lock:
            file = self._get(file_id)
            revision = self._service.identifiers.revision()
            self._change(file_id, content=Content.of(content), revision=revision, modified_by=by or file.owner)

    def unparent(self, file_id: str) -> None:
        """Take a file out of its folder, as a writer of the folder can."""
        with self._service.lock:
            file = self._get(file_id)
            self._change(file_id, parent=self._service.drive.accounts[file.owner].root)

    def duplicate(self, file_id: str) -> str:
        """Make another file or folder of the same name, owner and content beside it; return its id."""
        with self._service.lock:
            file = self._get(file_id)
            copy = replace(file, id=self._service.identifiers.file(), version=1)
            self._service.drive.put(copy)
            return copy.id

    def share(self, file_id: str, email: str, role: str = "reader") -> None:
        """Grant a role, as the owner does in the browser."""
        with self._service.lock:
            self._service.sharing.add(self._get(file_id), grant("user", ROLES[role], email))

    def revoke(self, file_id: str, email: str) -> None:
        """Take back what was granted to someone on this very file or folder."""
        with self._service.lock:
            self._service.sharing.withdraw(self._get(file_id), permission_id(email))

    def _get(self, file_id: str) -> File:
        file = self._service.drive.store.get(file_id)
        if file is None:
            raise KeyError(file_id)
        return file

    def _change(self, file_id: str, **changed: Any) -> None:
        with self._service.lock:
            file = self._get(file_id)
            now = self._service.drive.now()
            self._service.drive.put(replace(file, modified=now, version=file.version + 1, **changed))


def _record(file: File, *, trashed: bool) -> FileRecord:
    return FileRecord(
        file.id,
        file.name,
        file.owner,
        file.mime_type,
        file.size,
        file.content.md5 if file.content else None,
        trashed,
        (file.parent,) if file.parent else (),
        dict(file.properties),
    )
