"""What one measurement found, and how it is said in a line or two."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from measuring.plan import Plan, write_seconds, write_size
from measuring.processes import Usage


@dataclass(frozen=True, slots=True)
class Times:
    """Round times, in seconds."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        low, middle, high = (write_seconds(value) for value in (min(self.seconds), self.median, max(self.seconds)))
        return f"min {low}, median {middle}, max {high}"


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement of a federation. Memory and written bytes are those of :mod:`measuring.processes`."""

    system: str
    plan: Plan
    times: Times
    good: int
    server: Usage
    client: Usage
    memory_early: int
    memory_late: int
    #: Bytes of envelopes and objects that the server wrote, by its own account, in each round; of ours only.
    written: Sequence[int] = field(default_factory=tuple)
    #: Files of messages that were left, by their suffix; of ours only.
    left: Mapping[str, int] | None = None
    note: str = ""
    #: What the accounts used of Google Drive, if it was in between.
    used: Sequence[str] = ()
    #: The end of the server's log.
    log: str = ""

    @property
    def is_right(self) -> bool:
        """Whether every reply brought what it should, and no more was written than should be."""
        return self.good == self.expected and max(self.written, default=0) <= self.written_limit

    @property
    def expected(self) -> int:
        return self.plan.rounds * self.plan.datasites

    @property
    def written_limit(self) -> int:
        """The most that a server should write in one round: the model once, and an envelope for each data owner."""
        return int(1.01 * self.plan.size) + 50_000 * self.plan.datasites

    @property
    def stored(self) -> int:
        """Bytes that the server's processes caused to be written to storage, each round's share of the whole run."""
        return sum(self.server.written.values()) // self.plan.rounds

    def lines(self) -> list[str]:
        """Say it all."""
        early, late = write_size(self.memory_early), write_size(self.memory_late)
        lines = [
            f"{self.system}: {self.plan}{f' ({self.note})' if self.note else ''}",
            f"  round time: {self.times}",
            f"  replies that brought what they should: {self.good} of {self.expected}",
            f"  server's peak memory: {_memory(self.server)}",
            f"  a client's peak memory: {_memory(self.client)}",
            f"  server's memory: {early} after a tenth of the rounds, {late} at the end",
        ]
        if self.written:
            most = max(self.written)
            verdict = "within" if most <= self.written_limit else "OVER"
            lines.append(
                f"  written by the server in a round: at most {most:,} bytes for {self.plan.datasites} addressees, "
                f"{verdict} 1.01 x size + 50 KB x addressees = {self.written_limit:,}"
            )
        lines.append(f"  put on storage by the server's processes, a round's share: {self.stored:,} bytes")
        lines += self.used
        if self.left is not None:
            kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(self.left.items()))
            lines.append(f"  message files left behind: {kinds or 'none'}")
        return lines if self.good == self.expected else [*lines, self.log]


def _memory(usage: Usage) -> str:
    parts = ", ".join(f"{name} {write_size(size)}" for name, size in sorted(usage.largest.items()))
    return f"{write_size(usage.memory)} ({parts})"
