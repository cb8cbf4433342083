"""Faults that a test injects: their kinds, and the calls that they apply to.

A random fault depends on the seed, the fault, the user, the method, and the number of the call. It does not depend on
the order of threads.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from fnmatch import fnmatchcase
from typing import Any

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive import drive_errors
from syft_flwr.emulators.gdrive.drive_errors import DriveError

#: Parameters of every kind of fault, with their defaults.
KINDS: dict[str, dict[str, Any]] = {
    # Error responses; they can also apply to one call of a batch.
    "error": {
        "status": 503,
        "reason": None,
        "message": None,
        "retry_after": None,
        "page": None,
        "committed": False,
    },
    "rate_limit": {"answer": "403", "retry_after": None},
    "unauthorized": {},
    "storage_full": {},
    "sharing_limit": {},
    "upload_limit": {},
    "invalid_grant": {},
    # The connection.
    "close_before_reading": {},
    "close_after_reading": {},
    "reset": {"committed": False},
    "lose_reply": {},
    "lose_final": {},
    "truncate": {"keep": None},
    "stall": {"seconds": None},
    "drop_upload": {"at": 0, "reset": False},
    # Actions of the test during a call.
    "run": {"action": None},
    "barrier": {"parties": 2, "timeout": 10.0},
    # Content and order of responses.
    "lose_grant": {},
    "shuffle_batch": {},
    "empty_or": {},
    "short_page": {"at_most": 1},
    "drop_change": {},
    "duplicate_change": {},
    "reorder_changes": {},
}

_REASONS = {500: "internalError", 502: "badGateway", 503: "backendError", 504: "gatewayTimeout"}
_REFUSALS = {
    "sharing_limit": drive_errors.sharing_limit,
    "storage_full": drive_errors.storage_full,
    "unauthorized": drive_errors.bad_token,
    "upload_limit": drive_errors.upload_limit,
}
#: The kinds that answer a call of the API with an error response.
REFUSING = ("error", "rate_limit", *_REFUSALS)


@dataclass(frozen=True, slots=True)
class Call:
    """The properties of a call that select a fault.

    Attributes:
        user: email of the user; empty for a request without a valid token.
        method: method of the API, such as ``files.get``.
        http_method: ``GET``, ``POST`` and so on.
        path: path of the address, without the query.
        file_id: the file of the call, if it names one.
        size: length of the body in bytes, from its header.
        part: index of the call in its batch, from 0; None outside of batches.
        number: number of earlier calls of this method by the user.
    """

    user: str
    method: str
    http_method: str
    path: str
    file_id: str | None
    size: int
    part: int | None
    number: int


class Fault:
    """One fault, for all calls that match its arguments.

    Args:
        kind: a key of ``syft_flwr.emulators.gdrive.faults.KINDS``.
        method: the method of matching calls; may have wildcards, as in ``files.*``. A whole batch is ``batch``, a
            request to an upload session is ``upload.chunk`` or ``upload.status``, and sign-in is ``token``.
        user: email of the user of matching calls.
        times: how often the fault applies at most; None for always. For a ``barrier``, the number of meetings.
        probability: probability that the fault applies to a matching call.
        after: number of matching calls that pass first.
        predicate: returns whether a call matches.
        parameters: parameters of the kind.

    Attributes:
        fired: how often the fault applied.
    """

    def __init__(
        self,
        kind: str,
        *,
        method: str | None = None,
        user: str | None = None,
        times: int | None = 1,
        probability: float = 1.0,
        after: int = 0,
        predicate: Callable[[Call], bool] | None = None,
        **parameters: Any,
    ) -> None:
        if kind not in KINDS or not parameters.keys() <= KINDS[kind].keys():
            raise ValueError(
                f"no fault {kind!r} with parameters {sorted(parameters)}; use one of {KINDS.get(kind, sorted(KINDS))}"
            )
        self.kind = kind
        self.fired = 0
        self.parameters = {**KINDS[kind], **parameters}
        self._method = method
        self._user = user.lower() if user else None
        # A barrier applies once for each of the calls that meet.
        self._times = times * self.parameters["parties"] if times and kind == "barrier" else times
        self._probability = probability
        self._after = after
        self._predicate = predicate
        self._fitting = 0

    def __repr__(self) -> str:
        return f"Fault({self.kind!r}, method={self._method!r}, user={self._user!r}, fired={self.fired})"

    def strikes(self, call: Call, chance: float) -> bool:
        """Return whether the fault applies to a call, and count it.

        Args:
            call: the call.
            chance: a random number from 0 up to 1, compared with the probability.
        """
        if self._times is not None and self.fired >= self._times:
            return False
        if self._method is not None and not fnmatchcase(call.method, self._method):
            return False
        if (self._user is not None and self._user != call.user) or (self._predicate and not self._predicate(call)):
            return False
        self._fitting += 1
        if self._fitting <= self._after or chance >= self._probability:
            return False
        self.fired += 1
        return True


class FaultTable:
    """The injected faults. Not thread-safe: the service calls it with its lock held."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._faults: list[tuple[int, Fault]] = []
        self._numbers: Counter[tuple[str, str]] = Counter()
        self._next = 0

    def add(self, fault: Fault) -> None:
        self._faults.append((self._next, fault))
        self._next += 1

    def clear(self) -> None:
        self._faults.clear()

    def number(self, user: str, method: str) -> int:
        """Count a call, and return the number of earlier calls of this user and method."""
        self._numbers[user, method] += 1
        return self._numbers[user, method] - 1

    def take(self, call: Call, *kinds: str) -> Fault | None:
        """Return the first fault of these kinds that applies to a call, or None."""
        for index, fault in self._faults:
            if fault.kind in kinds:
                chance = draw(self._seed, "fault", index, call.user, call.method, call.part, call.number)
                if fault.strikes(call, chance):
                    return fault
        return None


def refusal(fault: Fault, clock: Clock) -> DriveError:
    """Return the error response of a fault of a kind in :data:`REFUSING`."""
    parameters = fault.parameters
    if fault.kind in _REFUSALS:
        return _REFUSALS[fault.kind]()
    headers = _retry_after(parameters["retry_after"], clock)
    if fault.kind == "rate_limit" and parameters["answer"] == "403":
        return drive_errors.user_rate_limit(headers)
    if fault.kind == "rate_limit":
        return drive_errors.rate_limit(
            headers, drive_errors.RATE_LIMIT_PAGE if parameters["answer"] == "429-html" else None
        )
    status = parameters["status"]
    reason = parameters["reason"] or _REASONS.get(status, "backendError")
    message = parameters["message"] or "Backend Error"
    return DriveError(status, reason, message, headers=headers, page=parameters["page"])


def _retry_after(said: int | str | None, clock: Clock) -> dict[str, str]:
    """Return the header ``Retry-After`` for a number of seconds; ``date`` gives the time in two seconds."""
    if said is None:
        return {}
    if said == "date":
        return {"Retry-After": format_datetime(clock.now() + timedelta(seconds=2), usegmt=True)}
    return {"Retry-After": str(said)}


def draw(seed: int, *what: object) -> float:
    """Return a number from 0 (included) to 1 (excluded) that depends only on the arguments."""
    digest = hashlib.blake2b(repr((seed, what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
