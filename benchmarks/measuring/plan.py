"""What one measurement is of, and the units it is read and written in."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeVar

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "B": 1}
#: Up to so many data owners have processes of their own; more share them.
_MOST_ALONE = 10
_TOGETHER = 50

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Plan:
    """One measurement.

    Args:
        size: bytes of the model, one array of 32-bit floats.
        rounds: how many are timed, after a small one that is not.
        datasites: the number of data owners.
        workload: a name in ``workload.WORKLOADS``.
        per_process: data owners that share one process.
        timeout: seconds for one round.
    """

    size: int
    rounds: int
    datasites: int
    workload: str = "echo"
    per_process: int = 1
    timeout: float = 600.0

    @classmethod
    def of(cls, size: int, rounds: int, datasites: int, workload: str = "echo", per_process: int | None = None) -> Self:
        """Return a plan; where nothing is said, with as many processes as a small machine bears."""
        shared = per_process or (1 if datasites <= _MOST_ALONE else _TOGETHER)
        return cls(size, rounds, datasites, workload, shared)

    @property
    def elements(self) -> int:
        return max(1, self.size // 4)

    def __str__(self) -> str:
        owners = "1 data owner" if self.datasites == 1 else f"{self.datasites} data owners"
        return f"{write_size(self.size)}, {owners}, {self.rounds} rounds, {self.workload}"


def read_size(text: str) -> int:
    """Return the bytes that ``1KB``, ``10MB`` or ``3GB`` (powers of ten) stand for."""
    unit = next((unit for unit in _UNITS if text.upper().endswith(unit)), None)
    if unit is None:
        raise ValueError(f"{text!r} has no unit; allowed are {', '.join(_UNITS)}")
    return int(float(text[: -len(unit)]) * _UNITS[unit])


def write_size(size: float) -> str:
    """Return ``size`` bytes with the largest unit that keeps it at least 1."""
    unit, factor = max(((u, f) for u, f in _UNITS.items() if f <= max(size, 1)), key=lambda found: found[1])
    return f"{size / factor:,.4g} {unit}"


def write_seconds(seconds: float) -> str:
    """Return ``seconds`` with three digits that count."""
    value, unit = (1000 * seconds, "ms") if seconds < 0.9995 else (seconds, "s")
    return f"{value:.3g} {unit}" if value < 999.5 else f"{value:,.0f} {unit}"


def save(path: Path, record: Any) -> None:
    """Write a dataclass for another process, which sees all of it or nothing."""
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
    temporary.rename(path)


def load(path: Path, kind: type[Record]) -> Record:
    """Read what :func:`save` wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return kind(**{field.name: values[field.name] for field in fields(kind)})  # type: ignore[arg-type]
