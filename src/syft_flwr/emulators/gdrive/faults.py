"""What goes wrong on purpose: which calls, how often, and how.

Whether a fault strikes depends on the seed, the fault, the user and which of the user's calls of that method it is, and
not on the order in which threads arrive.
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
    # Answers; they can also strike one call of a batch.
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
    # What else happens meanwhile.
    "run": {"action": None},
    "barrier": {"parties": 2, "timeout": 10.0},
    # Content and order of answers.
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
#: Those that answer a call of the API with a refusal.
REFUSING = ("error", "rate_limit", *_REFUSALS)


@dataclass(frozen=True, slots=True)
class Call:
    """What a fault may look at to decide.

    Attributes:
        user: email, empty for a request without a token that is known.
        size: of the body, as its header says.
        part: which call of a batch, from 0; ``None`` outside of batches.
        number: which of the user's calls of this method, from 0.
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
    """One thing that goes wrong.

    Args:
        kind: one of :data:`KINDS`.
        method: only calls of this method; may have wildcards, as in ``files.*``. A batch as a whole is ``batch``, what
            is sent to an upload session ``upload.chunk`` or ``upload.status``, sign-in ``token``.
        user: only this user's calls.
        times: how often at most, ``None`` for always; of a ``barrier``, how many meetings.
        probability: of each call that fits.
        after: how many calls that fit are let pass first.
        predicate: says whether a call fits.
        parameters: those of the kind.

    Attributes:
        fired: how often it struck.
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
            raise ValueError(f"no fault {kind!r} with {sorted(parameters)}; known are {KINDS.get(kind, sorted(KINDS))}")
        self.kind = kind
        self.fired = 0
        self.parameters = {**KINDS[kind], **parameters}
        self._method = method
        self._user = user.lower() if user else None
        # Each of those that meet is struck.
        self._times = times * self.parameters["parties"] if times and kind == "barrier" else times
        self._probability = probability
        self._after = after
        self._predicate = predicate
        self._fitting = 0

    def __repr__(self) -> str:
        return f"Fault({self.kind!r}, method={self._method!r}, user={self._user!r}, fired={self.fired})"

    def strikes(self, call: Call, chance: float) -> bool:
        """Decide, and count."""
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
    """The faults that are set. Not thread-safe; it is asked under the lock of the service."""

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
        """Count a call."""
        self._numbers[user, method] += 1
        return self._numbers[user, method] - 1

    def take(self, call: Call, *kinds: str) -> Fault | None:
        """Return the first fault of these kinds that strikes a call."""
        for index, fault in self._faults:
            if fault.kind in kinds:
                chance = draw(self._seed, "fault", index, call.user, call.method, call.part, call.number)
                if fault.strikes(call, chance):
                    return fault
        return None


def refusal(fault: Fault, clock: Clock) -> DriveError:
    """Return what a fault of :data:`REFUSING` answers with."""
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
    """Return the header for so many seconds, or for ``date`` the time in two seconds."""
    if said is None:
        return {}
    if said == "date":
        return {"Retry-After": format_datetime(clock.now() + timedelta(seconds=2), usegmt=True)}
    return {"Retry-After": str(said)}


def draw(seed: int, *what: object) -> float:
    """Return a number from 0 up to 1, always the same one for the same ``what``."""
    digest = hashlib.blake2b(repr((seed, what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
