"""The class ``Emulator``: accounts, an HTTP server, and controls for tests."""

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

#: The default OAuth client of a token file.
_CLIENT = "1234567890-emulator.apps.googleusercontent.com"


class Emulator(DirectAccess):
    """An emulated Google Drive with several accounts, on loopback.

    It runs from :meth:`start` to :meth:`close`, or as a context manager. All methods are thread-safe, also while
    clients send requests.

    Args:
        users: emails of the accounts.
        port: TCP port; 0 chooses a free one.
        seed: seed of all ids and random decisions. The same seed gives the same values.
        clock: the source of all times, limits and waits.
        assumptions: behaviour that Google does not document.
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
        """Return the address of the emulator on this machine."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Start to serve requests."""
        self._server.start()

    def close(self) -> None:
        """Stop the server and end all connections. A second call does nothing."""
        self._server.close()

    # Accounts

    def add_user(self, email: str) -> None:
        """Add an account, if it does not exist."""
        with self._service.lock:
            if email.lower() not in self._service.drive.accounts:
                self._service.drive.add_account(email.lower())

    def write_token(self, email: str, path: Path | str, scopes: Iterable[str] = FULL, *, client: str = _CLIENT) -> None:
        """Write a token file for ``Credentials.from_authorized_user_file``, with mode 0600.

        Args:
            email: the account.
            path: the file; an existing one is replaced.
            scopes: the granted scopes.
            client: id of the OAuth client. Each client sees only its own ``appProperties``.
        """
        with self._service.lock:
            self._service.tokens.write(email.lower(), Path(path), scopes, client)

    def expire_tokens(self, email: str | None = None) -> None:
        """Expire the access tokens of a user, or of all users. Clients can refresh them."""
        with self._service.lock:
            self._service.tokens.expire(email and email.lower())

    def revoke_token(self, email: str) -> None:
        """Revoke all tokens of a user, so that the user must sign in again."""
        with self._service.lock:
            self._service.tokens.revoke(email.lower())

    def expire_uploads(self) -> None:
        """Expire all upload sessions."""
        with self._service.lock:
            self._service.uploads.expire()

    # Requests and counters

    def meter(self, email: str) -> Meter:
        """Return a copy of a user's counters."""
        with self._service.lock:
            return self._service.meters.of(email.lower()).copy()

    def reset_meters(self) -> None:
        """Set all counters to 0 and clear the log of requests."""
        with self._service.lock:
            self._service.meters.reset()

    @property
    def requests(self) -> list[RequestRecord]:
        """Return the HTTP requests so far, in order of their responses."""
        with self._service.lock:
            return list(self._service.meters.requests)

    # Faults, delays and limits

    def inject(self, fault: Fault) -> Fault:
        """Add a fault, and return it; ``fault.fired`` counts how often it applied."""
        with self._service.lock:
            self._service.faults.add(fault)
        return fault

    def heal(self) -> None:
        """Remove all faults, and release the requests that a ``stall`` holds."""
        with self._service.lock:
            self._service.faults.clear()
        self._gate.release()

    @property
    def latency(self) -> Latency:
        """Return the duration of calls and transfers; it can be set."""
        return self._gate.latency

    @latency.setter
    def latency(self, latency: Latency) -> None:
        self._gate.latency = latency

    @property
    def limits(self) -> Limits:
        """Return the limits of users and of the project; they can be set."""
        return self._service.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        with self._service.lock:
            self._service.limits = limits

    @property
    def lag(self) -> Lag:
        """Return the seconds until changes become visible. A new lag makes earlier changes visible at once."""
        return self._service.lag

    @lag.setter
    def lag(self, lag: Lag) -> None:
        """Delay the visibility of later changes; earlier changes become visible at once."""
        with self._service.lock:
            self._service.drive.settle()
            self._service.lag = lag

    def set_lag(self, email: str, lag: Lag) -> None:
        """Set the lag of one user; earlier changes become visible to all users at once."""
        with self._service.lock:
            self._service.drive.settle()
            self._service.lags.own[email.lower()] = lag

    def set_latency(self, email: str, latency: Latency) -> None:
        """Set the latency of one user."""
        self._gate.latencies[email.lower()] = latency

    def set_storage(self, email: str, limit: int | None) -> None:
        """Set how many bytes a user may own; None for no limit."""
        with self._service.lock:
            self._service.quota.storage[email.lower()] = limit

    def pause(self) -> None:
        """Hold all requests after reading them, until :meth:`resume`."""
        self._gate.pause()

    def resume(self) -> None:
        """Release the requests that :meth:`pause` holds."""
        self._gate.resume()

    def release(self) -> None:
        """Release the requests that a ``stall`` holds."""
        self._gate.release()

    def wait_until_stalled(self, count: int = 1, timeout: float = 10.0) -> bool:
        """Wait until a ``stall`` holds ``count`` requests; return False after ``timeout`` real seconds."""
        return self._gate.wait_until_stalled(count, timeout)
