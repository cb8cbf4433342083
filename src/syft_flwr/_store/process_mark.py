"""The mark of this process, by which a later process tells how an attempt at a request ended.

An attempt that no process ended has the mark of the one that began it. If that process ran since the same start of the
machine, it was killed: for example by ``kill -9``, or because the memory was full. After a restart of the machine, nothing
is known, and no blame falls on the request.
"""

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

#: A random id of each start of the machine. Only Linux has it. A container has that of its machine.
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the id of the present start of this machine; empty if the system has none."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


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
        return self.process != later.process and self.boot == later.boot
