"""The life of a run, as both sides record it."""

from enum import StrEnum


class RunState(StrEnum):
    """A run, at either side."""

    #: It was not ended yet; if no process serves it, it was interrupted and can be taken up again.
    RUNNING = "running"
    #: The ServerApp came to its end.
    COMPLETED = "completed"
    #: The ServerApp raised, or the run could not go on.
    FAILED = "failed"
    #: A person ended it, or another run took its place.
    STOPPED = "stopped"
