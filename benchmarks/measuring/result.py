"""The result of one measurement, and its lines for the terminal."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from measuring.emitted import Emitted
from measuring.plan import Plan, write_seconds, write_size
from measuring.processes import Usage


@dataclass(frozen=True, slots=True)
class Times:
    """The times of all rounds, in seconds."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        low, middle, high = (write_seconds(value) for value in (min(self.seconds), self.median, max(self.seconds)))
        return f"min {low}, median {middle}, max {high}"


@dataclass(frozen=True, slots=True)
class Result:
    """The result of one measurement of a federation. See :mod:`measuring.processes` for the memory.

    Attributes:
        system: name of the measured system.
        plan: the plan of the measurement.
        times: the round times.
        good: number of correct replies.
        server: usage of the server.
        client: usage of the client with the largest memory, and the bytes written by all clients.
        memory_early: memory of the ServerApp in bytes, after a tenth of the rounds.
        memory_late: memory of the ServerApp in bytes, after all rounds.
        note: remark for the first line.
    """

    system: str
    plan: Plan
    times: Times
    good: int
    server: Usage
    client: Usage
    memory_early: int
    memory_late: int
    #: Bytes of envelopes and objects that the server wrote in each round, from its record; only for syft_flwr.
    written: Sequence[int] = field(default_factory=tuple)
    #: Number of message files left behind, by their suffix; only for syft_flwr in one folder.
    left: Mapping[str, int] | None = None
    #: Bytes that the aggregator's SyftBox client sent in all rounds together; 0 without a SyftBox network.
    sent: int = 0
    #: The events of all participants in a round, on average; only for syft_flwr.
    emitted: Emitted | None = None
    note: str = ""
    #: Lines about the use of each Google Drive account; empty without Google Drive.
    used: Sequence[str] = ()
    #: The end of the server's log.
    log: str = ""

    @property
    def is_right(self) -> bool:
        """Return whether every reply was correct and the server wrote at most :attr:`written_limit`."""
        return self.good == self.expected and max(self.written, default=0) <= self.written_limit

    @property
    def expected(self) -> int:
        return self.plan.rounds * self.plan.datasites

    @property
    def written_limit(self) -> int:
        """Return the limit in bytes that a server may write in a round: one model, and an envelope for each owner."""
        return int(1.01 * self.plan.size) + 50_000 * self.plan.datasites

    @property
    def stored(self) -> int:
        """Return the bytes that the server's processes wrote to storage, divided by the number of rounds."""
        return sum(self.server.written.values()) // self.plan.rounds

    def lines(self) -> list[str]:
        """Return the result as lines of text; if replies are wrong or missing, with the end of the server's log."""
        early, late = write_size(self.memory_early), write_size(self.memory_late)
        lines = [
            f"{self.system}: {self.plan}{f' ({self.note})' if self.note else ''}",
            f"  round time: {self.times}",
            f"  correct replies: {self.good} of {self.expected}",
            f"  server's peak memory: {_memory(self.server)}",
            f"  a client's peak memory: {_memory(self.client)}",
            f"  server's memory: {early} after a tenth of the rounds, {late} at the end",
        ]
        if self.written:
            most = max(self.written)
            verdict = "within" if most <= self.written_limit else "OVER"
            lines.append(
                f"  written by the server in a round: at most {most:,} bytes for {self.plan.datasites} data owners, "
                f"{verdict} 1.01 x size + 50 KB x data owners = {self.written_limit:,}"
            )
        lines.append(f"  written to storage by the server's processes, per round: {self.stored:,} bytes")
        if self.sent:
            lines.append(
                f"  sent by the aggregator's SyftBox client, per round: {write_size(self.sent / self.plan.rounds)}"
            )
        if self.emitted:
            lines.append(f"  record, all participants, per round: {self.emitted}")
        lines += self.used
        if self.left is not None:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(self.left.items()))
            lines.append(f"  message files left behind: {kinds or 'none'}")
        return lines if self.good == self.expected else [*lines, self.log]


def _memory(usage: Usage) -> str:
    parts = ", ".join(f"{name} {write_size(size)}" for name, size in sorted(usage.largest.items()))
    return f"{write_size(usage.memory)} ({parts})"
