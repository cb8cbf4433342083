"""Decides how a run ended: from the replies that its aggregator got, and from the end of its ServerApp.

Every surface asks :func:`judge` or :func:`losses_of`: the exit code, the last line, the JSON objects, the record, the
list of runs, the result in Python, and the stop for the data owners.

* A good reply is decoded and has no error in it. A request without one is a loss.
* A request is neither of both if the aggregator itself did not wait for its reply: ``late``, because the round was
  closed by enough others, and ``stopped``, because it was open when the run ended.
* A run failed if its ServerApp failed, or if a kind of message has not one good reply, and no round of it was closed.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from syft_flwr._store.futures import ReplyCount
from syft_flwr._store.states import RunState
from syft_flwr.runs.events import LATE, STOPPED
from syft_flwr.shutdown import Terminated
from syft_flwr.text import counted, printable

#: Losses in one line for people, and the most characters of such a line.
_SHOWN = 5
_MAX_LINE = 400
#: The most characters of a text with which a ServerApp ended itself.
_MAX_EXIT = 200
#: The reason of the stop that the data owners get, by the state of the run. The texts are a part of the protocol.
STOP_REASONS = {
    RunState.COMPLETED: "Server stopped",
    RunState.FAILED: "Server failed",
    RunState.STOPPED: "Server interrupted",
}
_STATE_OF_STOP = {reason: state for state, reason in STOP_REASONS.items()}
#: The cause of the end in the record of a data owner, by the state of the run at its aggregator.
_CAUSES_OF_STOP = {
    RunState.COMPLETED: "",
    RunState.FAILED: "the run failed at its aggregator",
    RunState.STOPPED: "its aggregator was stopped",
}


def end_by_stop(reason: str) -> tuple[RunState, str]:
    """Return the state and the cause that the record of a data owner gets by the reason of a stop.

    A person chose any other reason than :data:`STOP_REASONS`, and stopped the run.
    """
    state = _STATE_OF_STOP.get(reason)
    return (state, _CAUSES_OF_STOP[state]) if state else (RunState.STOPPED, reason)


def is_loss(reason: str) -> bool:
    """Return whether a request with this reason is a loss. A good reply has no reason."""
    return reason not in ("", LATE, STOPPED)


@dataclass(frozen=True, slots=True)
class AppEnd:
    """How a ServerApp ended: with a failure, by an interruption, or normally if both texts are empty."""

    failure: str = ""
    interruption: str = ""


#: The ServerApp returned.
RETURNED = AppEnd()


def end_of(error: BaseException | None) -> AppEnd:
    """Return how a ServerApp ended that raised ``error``; None stands for one that returned.

    ``sys.exit()`` and ``sys.exit(0)`` are a normal end. Ctrl-C and SIGTERM are no failure of the app.
    """
    if isinstance(error, (KeyboardInterrupt, Terminated)):
        return AppEnd(interruption="interrupted")
    if isinstance(error, SystemExit):
        if error.code in (None, 0):
            return RETURNED
        if isinstance(error.code, int):
            return AppEnd(f"the ServerApp ended itself with exit code {int(error.code)}")
        return AppEnd(f"the ServerApp ended itself: {printable(str(error.code), _MAX_EXIT)}")
    return AppEnd(f"the ServerApp raised {type(error).__name__}") if error else RETURNED


@dataclass(frozen=True, slots=True)
class Loss:
    """The losses of one data owner for one kind of message and one reason."""

    data_owner: str
    #: The type of the Flower messages.
    kind: str
    #: A code of the protocol, or ``app-error`` for an error that the app put into its reply.
    reason: str
    count: int
    #: The number of good replies of this data owner to messages of this kind.
    answered: int = 0

    def __str__(self) -> str:
        never = "" if self.answered else ", and no good reply"
        return f"{self.data_owner}: {self.count:,} {self.kind} {self.reason}{never}"

    def as_fields(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "data-owner": self.data_owner,
            "kind": self.kind,
            "reason": self.reason,
            "count": self.count,
            "answered": self.answered,
        }


def loss_from(fields: object) -> Loss | None:
    """Return the loss in the fields of a record; None if they have another form."""
    if not isinstance(fields, dict):
        return None
    texts = [fields.get(name) for name in ("data-owner", "kind", "reason")]
    numbers = [fields.get(name, 0) for name in ("count", "answered")]
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        return None
    return Loss(*map(str, texts), *map(int, numbers))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended, with all its losses."""

    state: RunState
    #: Why it failed or was stopped, for people; empty if it was completed.
    cause: str = ""
    losses: tuple[Loss, ...] = ()

    @property
    def stop_reason(self) -> str:
        """Return the reason of the stop for the data owners."""
        return STOP_REASONS[self.state]

    @property
    def summary(self) -> str:
        """Return one line for people, such as ``was completed, with losses: …``."""
        if self.state is not RunState.COMPLETED:
            return f"{'failed' if self.state is RunState.FAILED else 'was stopped'}: {self.cause or 'no cause is recorded'}"
        return f"was completed, with losses: {shown_losses(self.losses)}" if self.losses else "was completed"

    def refusal(self, *, strict: bool = False, everyone: bool = False) -> str:
        """Return why a completed run does not count as a success; empty if it does.

        Args:
            strict: no loss is allowed.
            everyone: each data owner must have given a good reply of each kind for which it has losses.
        """
        if self.state is not RunState.COMPLETED:
            return self.cause
        if missing := [loss for loss in self.losses if not loss.answered] if everyone else []:
            return f"a data owner gave no good reply: {shown_losses(missing)}"
        return f"strict is set, and there were losses: {shown_losses(self.losses)}" if strict and self.losses else ""


def shown_losses(losses: Sequence[Loss]) -> str:
    """Return losses as a text of bounded length, those without any good reply first."""
    more = f"; and {len(losses) - _SHOWN} more" if len(losses) > _SHOWN else ""
    text = "; ".join(map(str, losses[:_SHOWN]))
    return (f"{text[: _MAX_LINE - 1]}…" if len(text) > _MAX_LINE else text) + more


def shown_state(state: str, losses: Sequence[Loss], refusal: str) -> str:
    """Return the state of a run for people, with the result that a completed one has."""
    if state != RunState.COMPLETED:
        return state
    return f"{state}, but counts as a failure" if refusal else f"{state}, with losses" if losses else state


def losses_of(replies: Iterable[ReplyCount]) -> tuple[Loss, ...]:
    """Return the losses among these replies: those of data owners without any good reply first, then the largest."""
    counts: Counter[tuple[str, str, str]] = Counter()
    good: Counter[tuple[str, str]] = Counter()
    for each in replies:
        if is_loss(each.reason):
            counts[each.data_owner, each.kind, each.reason] += each.count
        elif not each.reason:
            good[each.data_owner, each.kind] += each.count
    losses = [
        Loss(owner, kind, reason, count, good[owner, kind]) for (owner, kind, reason), count in sorted(counts.items())
    ]
    return tuple(sorted(losses, key=lambda loss: (bool(loss.answered), -loss.count)))


def judge(replies: Iterable[ReplyCount], end: AppEnd = RETURNED) -> RunOutcome:
    """Return the outcome of a run.

    Args:
        replies: the outcomes of all requests that the app collected, without control messages.
        end: how the ServerApp ended.
    """
    known = list(replies)
    losses = losses_of(known)
    if end.interruption:
        return RunOutcome(RunState.STOPPED, end.interruption, losses)
    if end.failure:
        return RunOutcome(RunState.FAILED, end.failure, losses)
    good = {each.kind for each in known if not each.reason}
    # In the order of the losses, so that the text begins with the worst one.
    if failed := [loss for loss in losses if loss.kind not in good]:
        by_kind = Counter(dict.fromkeys(sorted({loss.kind for loss in failed}), 0))
        for loss in failed:
            by_kind[loss.kind] += loss.count
        numbers = [counted(number, f"{kind} request") for kind, number in by_kind.most_common()]
        return RunOutcome(RunState.FAILED, f"no good reply to {' and '.join(numbers)}: {shown_losses(failed)}", losses)
    for kind in dict.fromkeys(each.kind for each in known if each.reason == STOPPED):
        if kind not in good | {each.kind for each in known if each.reason == LATE}:
            return RunOutcome(RunState.FAILED, f"the ServerApp ended without one reply to its {kind} requests", losses)
    return RunOutcome(RunState.COMPLETED, "", losses)
