"""The mark of this process, by which a later process tells how an attempt at a request ended.

An attempt that no process ended has the mark of the one that began it. If that process ran since the same start of the
machine, it was killed: for example by ``kill -9``, or because the memory was full. After a restart of the machine, nothing
is known, and no blame falls on the request.

A system without an id of its start, such as macOS, has the time of that start, by its two clocks. A machine that slept, or
whose time of day was set, looks as if it was restarted. So a death may not count there, but a restart never does.
"""

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from syft_flwr.clock import SystemClock

#: A random id of each start of the machine. Only Linux has it. A container has that of its machine.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
#: Begins the time of the start of a machine, in seconds.
_STARTED = "started "
#: Seconds by which this time may differ between two processes, because the time of day is corrected in small steps. A
#: machine that has run a client for less than this before its restart is a rare case.
_TOLERANCE = 30.0


def boot_id() -> str:
    """Return the id of the present start of this machine, or its time if the system has no id."""
    try:
        found = _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        found = ""
    clock = SystemClock()
    return found or f"{_STARTED}{clock.now().timestamp() - clock.monotonic():.0f}"


def is_same_boot(one: str, other: str) -> bool:
    """Return whether two results of :func:`boot_id` are of one start of a machine."""
    if not (one.startswith(_STARTED) and other.startswith(_STARTED)):
        return one == other
    times = [float(each.removeprefix(_STARTED)) for each in (one, other)]
    return abs(times[0] - times[1]) <= _TOLERANCE


@dataclass(frozen=True, slots=True)
class ProcessMark:
    """The start of the machine, and a random number of the process."""

    boot: str = field(default_factory=boot_id)
    process: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __str__(self) -> str:
        return f"{self.boot}/{self.process}"

    @classmethod
    def read(cls, text: str) -> Self:
        boot, _, process = text.partition("/")
        return cls(boot, process)

    def was_killed_before(self, later: "ProcessMark") -> bool:
        """Return whether the process of this mark, which left its work, was killed before the process of ``later`` began."""
        return self.process != later.process and is_same_boot(self.boot, later.boot)
