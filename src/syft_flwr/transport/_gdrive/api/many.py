"""The same small call for many files, in as few HTTP requests as Drive allows."""

from collections.abc import Callable, Sequence
from itertools import islice

from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.api import batch
from syft_flwr.transport._gdrive.api.channel import RENEWALS, Channel
from syft_flwr.transport._gdrive.api.http_request import Answer, HttpRequest
from syft_flwr.transport._gdrive.api.refusals import Refusal
from syft_flwr.transport._gdrive.api.retry import RetryableError


def call_many(
    channel: Channel,
    ids: Sequence[str],
    make: Callable[[str], HttpRequest],
    *,
    what: str,
    units: float,
    limit: float,
) -> dict[str, Answer]:
    """Return the answer to the call that ``make`` makes for each id, success or refusal.

    What failed in a way that may pass is made again, alone. A single call goes without a batch.
    """
    answers: dict[str, Answer] = {}
    left = iter(dict.fromkeys(ids))
    while some := list(islice(left, batch.MAX_PARTS)):
        if len(some) == 1:
            answers[some[0]] = channel.call(make(some[0]), what=what, units=units, limit=limit)
        else:
            answers |= _Batch(channel, some, make, what, units).run(limit)
    return answers


class _Batch:
    def __init__(
        self, channel: Channel, ids: list[str], make: Callable[[str], HttpRequest], what: str, units: float
    ) -> None:
        self._channel, self._make, self._what, self._units = channel, make, what, units
        self._left = ids
        self._done: dict[str, Answer] = {}
        self._renewals = 0

    def run(self, limit: float) -> dict[str, Answer]:
        # Parts that were answered are progress, as bytes are.
        self._channel.patience.run(self._what, limit, self._attempt, progress=lambda: len(self._done))
        return self._done

    def _attempt(self, latest: float) -> None:
        ids = self._left
        request = batch.join([self._make(file_id) for file_id in ids])
        whole = self._channel.send(request, units=self._units * len(ids), latest=latest)
        whole.ok(self._what)
        found = batch.split(whole, self._channel.clock)
        failures: list[Refusal] = []
        refused = False
        for number, file_id in enumerate(ids):
            answer = found.get(number)
            if answer is None:
                continue
            if answer.status == 401 and self._renewals < RENEWALS:
                refused = True
            elif answer.refusal is not None and answer.refusal.retryable:
                failures.append(answer.refusal)
            else:
                self._done[file_id] = answer
        self._left = [file_id for file_id in ids if file_id not in self._done]
        if refused:
            self._channel.renew(whole.token)
            self._renewals += 1
            self._attempt(latest)
        elif self._left:
            # The worst of them says how long to wait.
            raise max(failures, key=_patience_needed).again() if failures else RetryableError("a part has no answer")


def _patience_needed(refusal: Refusal) -> tuple[bool, float]:
    return refusal.rate, refusal.after or 0.0


#: What of the calls in a batch concerns one file alone: not there, or nothing that this account may have to do with.
_OF_ONE_FILE = frozenset({"insufficientFilePermissions", "appNotAuthorizedToFile", "cannotDownloadAbusiveFile"})


def is_out_of_reach(answer: Answer) -> bool:
    """Say whether an answer means that there is no such file for this account. A peer may name any id; others go on."""
    refusal = answer.refusal
    return answer.status == 404 or bool(refusal and not _OF_ONE_FILE.isdisjoint(refusal.reasons))


def first_error(
    answers: dict[str, Answer], what: str, *, except_for: Callable[[Answer], bool] = is_out_of_reach
) -> TransportError | None:
    """Return the error for the first answer that is a refusal of another kind."""
    refused = (answer.refusal for answer in answers.values() if not except_for(answer))
    return next((refusal.error(what) for refusal in refused if refusal), None)
