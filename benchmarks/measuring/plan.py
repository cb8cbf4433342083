"""The plan of one measurement, and functions that read and write sizes and times."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeVar

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "B": 1}
#: Largest number of data owners that each get their own process, and the number in one process above that.
_MOST_ALONE = 10
_TOGETHER = 50

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Plan:
    """The parameters of one measurement.

    Args:
        size: size of the model in bytes; it is one array of 32-bit floats.
        rounds: number of timed rounds, after a small one that is not timed.
        datasites: number of data owners.
        workload: a name in ``workload.WORKLOADS``.
        per_process: number of data owners in one process.
        timeout: longest time for one round, in seconds.
    """

    size: int
    rounds: int
    datasites: int
    workload: str = "echo"
    per_process: int = 1
    timeout: float = 600.0

    @classmethod
    def of(cls, size: int, rounds: int, datasites: int, workload: str = "echo", per_process: int | None = None) -> Self:
        """Return a plan; the default of ``per_process`` keeps the number of processes small enough for one machine."""
        shared = per_process or (1 if datasites <= _MOST_ALONE else _TOGETHER)
        return cls(size, rounds, datasites, workload, shared)

    @property
    def elements(self) -> int:
        return max(1, self.size // 4)

    def __str__(self) -> str:
        owners = "1 data owner" if self.datasites == 1 else f"{self.datasites} data owners"
        return f"{write_size(self.size)}, {owners}, {self.rounds} rounds, {self.workload}"


def read_size(text: str) -> int:
    """Return the bytes of a size such as ``1KB``, ``10MB`` or ``3GB``; units are powers of ten.

    Raises:
        ValueError: the unit is missing, or the rest is not a number.
    """
    unit = next((unit for unit in _UNITS if text.upper().endswith(unit)), None)
    if unit is None:
        raise ValueError(f"{text!r} has no unit; add one of {', '.join(_UNITS)}")
    return int(float(text[: -len(unit)]) * _UNITS[unit])


def write_size(size: float) -> str:
    """Return a size in bytes as text, in the largest unit that gives at least 1."""
    unit, factor = max(((u, f) for u, f in _UNITS.items() if f <= max(size, 1)), key=lambda found: found[1])
    return f"{size / factor:,.4g} {unit}"


def write_seconds(seconds: float) -> str:
    """Return a time as text, in ms or s with three significant digits."""
    value, unit = (1000 * seconds, "ms") if seconds < 0.9995 else (seconds, "s")
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"


def save(path: Path, record: Any) -> None:
    """Write a dataclass as JSON, atomically, so that another process never reads a part of it."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
    temporary.rename(path)


def load(path: Path, kind: type[Record]) -> Record:
    """Return the dataclass that :func:`save` wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return kind(**{field.name: values[field.name] for field in fields(kind)})  # type: ignore[arg-type]
