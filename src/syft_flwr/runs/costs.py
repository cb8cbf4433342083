"""The cost of one message: bytes and seconds of a request to one data owner, and of its reply."""

from collections.abc import Mapping
from dataclasses import dataclass


def rounded_seconds(by_phase: Mapping[str, float]) -> dict[str, float]:
    """Return seconds by phase as the record has them: rounded, and without the phases that took no time."""
    return {phase: round(seconds, 4) for phase, seconds in by_phase.items() if seconds >= 0.0001}


@dataclass(slots=True)
class MessageCost:
    """Bytes and seconds of one request, and of its reply."""

    #: Bytes of the envelope, and of the objects that were written for this request.
    bytes_written: int = 0
    #: Bytes of objects that this request shares with an earlier request.
    bytes_saved: int = 0
    #: Bytes of the envelope and the objects of the reply.
    bytes_received: int = 0
    #: At the aggregator: to seal and write the request.
    seconds_seal: float = 0.0
    #: Both transfers, of the request to the data owner and of the reply back, without the time of ``seconds_download``.
    seconds_transfer: float = 0.0
    #: At the data owner: from the arrival of the request to that of its last object.
    seconds_download: float = 0.0
    #: At the data owner: wait until the app was free.
    seconds_wait: float = 0.0
    #: At the data owner: to open the request, run the app, and seal the reply.
    seconds_open_request: float = 0.0
    seconds_run: float = 0.0
    seconds_seal_answer: float = 0.0
    #: At the aggregator: to open the reply.
    seconds_open: float = 0.0

    def seconds(self) -> dict[str, float]:
        """Return the seconds by phase, without the phases that took no time."""
        found = {
            "seal": self.seconds_seal,
            "transfer": self.seconds_transfer,
            "download": self.seconds_download,
            "wait": self.seconds_wait,
            "open_request": self.seconds_open_request,
            "run": self.seconds_run,
            "seal_reply": self.seconds_seal_answer,
            "open": self.seconds_open,
        }
        return rounded_seconds(found)
