"""A run whose ServerApp has ended: the last line of its log, and the error of a run that failed."""

from dataclasses import dataclass
from typing import Any

from flwr.app import Context

from syft_flwr._store.states import RunState
from syft_flwr.errors import RunError
from syft_flwr.log import logger
from syft_flwr.runs.outcome import RunOutcome


@dataclass(frozen=True, slots=True)
class EndedRun:
    """A run whose ServerApp ended in any way."""

    run_id: int
    app_name: str
    outcome: RunOutcome
    context: Context
    #: The exception with which the ServerApp ended, if any.
    error: BaseException | None = None

    def as_fields(self) -> dict[str, Any]:
        """Return the fields for JSON. The id is a string, because it is larger than the safe integers of JSON."""
        return {
            "run-id": str(self.run_id),
            "state": self.outcome.state.value,
            "cause": self.outcome.cause,
            "losses": [loss.as_fields() for loss in self.outcome.losses],
        }

    def log(self) -> None:
        """Log how the run ended, in one line."""
        level = "ERROR" if self.outcome.state is RunState.FAILED else "WARNING" if self.outcome.losses else "INFO"
        logger.log(level, "run {} ({}) {}", self.run_id, self.app_name, self.outcome.summary)

    def problem(self, *, strict: bool) -> RunError | None:
        """Return the error of a run that failed, or that has losses if ``strict`` is set."""
        if isinstance(self.error, Exception):
            notes = getattr(self.error, "__notes__", ())
            text = "; ".join([str(self.error), *notes])
            # A note about replies names data owners: then their apps can be the cause.
            misfit = any("replies do not fit together" in note for note in notes)
            named = ", or ask each named data owner to correct its app" if misfit else ""
            return RunError(
                f"run {self.run_id}: the ServerApp raised {type(self.error).__name__}: {text}",
                hint=f"Correct the ServerApp{named}, then start the server again; its traceback is in the log.",
            )
        if refusal := self.outcome.refusal(strict=strict):
            return RunError(
                f"run {self.run_id} failed: {refusal}",
                hint=f"Correct the cause, then start the server again. `syft-flwr runs {self.run_id}` lists each failure.",
            )
        return None

    def require_success(self, *, strict: bool) -> None:
        """Raise the error of :meth:`problem`, if there is one."""
        if problem := self.problem(strict=strict):
            raise problem from self.error
