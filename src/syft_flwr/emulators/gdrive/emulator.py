"""The emulator as a whole: accounts, a server, and the strings that a test pulls."""

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.emulators.gdrive.assumptions import Assumptions
from syft_flwr.emulators.gdrive.direct_access import DirectAccess
from syft_flwr.emulators.gdrive.faults import Fault
from syft_flwr.emulators.gdrive.http_server import EmulatorServer
from syft_flwr.emulators.gdrive.lag import Lag
from syft_flwr.emulators.gdrive.latency import Gate, Latency
from syft_flwr.emulators.gdrive.meters import Meter, RequestRecord
from syft_flwr.emulators.gdrive.quota import Limits
from syft_flwr.emulators.gdrive.service import Service
from syft_flwr.emulators.gdrive.tokens import FULL

#: The OAuth client of a token file unless told otherwise.
_CLIENT = "1234567890-emulator.apps.googleusercontent.com"


class Emulator(DirectAccess):
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
        self._gate = Gate(clock, seed)
        super().__init__(Service(clock, seed, assumptions or Assumptions()))
        for email in users:
            self.add_user(email)
        self._server = EmulatorServer(port, self._service, self._gate)

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
            self._service.tokens.expire(email and email.lower())

    def revoke_token(self, email: str) -> None:
        """Let a user's sign-in be over for good."""
        with self._service.lock:
            self._service.tokens.revoke(email.lower())

    def expire_uploads(self) -> None:
        """Let all upload sessions be too old."""
        with self._service.lock:
            self._service.uploads.expire()

    # What was asked

    def meter(self, email: str) -> Meter:
        """Return a user's counters as they are now."""
        with self._service.lock:
            return self._service.meters.of(email.lower()).copy()

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
        return self._gate.latency

    @latency.setter
    def latency(self, latency: Latency) -> None:
        self._gate.latency = latency

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
            self._service.lags.own[email.lower()] = lag

    def set_latency(self, email: str, latency: Latency) -> None:
        """Give a user a latency of their own."""
        self._gate.latencies[email.lower()] = latency

    def set_storage(self, email: str, limit: int | None) -> None:
        """Say how many bytes a user may own."""
        with self._service.lock:
            self._service.quota.storage[email.lower()] = limit

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
