"""Measure one plan with syft_flwr, with Flower's own deployment, and with only the machine, and compare the times."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from measuring import flower, limit, ours
from measuring.limit import Limit
from measuring.plan import Plan
from measuring.processes import MeasurementError
from measuring.result import Result

#: Largest number of rounds with only the machine; its times vary little.
_MOST_OF_LIMIT = 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """The results of one plan; None for a system that was not measured."""

    ours: Result
    flower: Result | None = None
    limit: Limit | None = None
    #: The reason why Flower's deployment gave no result; empty if it gave one or was not measured.
    flower_failed: str = ""

    @property
    def plan(self) -> Plan:
        return self.ours.plan

    @property
    def times_flower(self) -> float | None:
        """Return the median round time of Flower divided by that of syft_flwr."""
        return self.flower.times.median / self.ours.times.median if self.flower else None

    @property
    def times_bare(self) -> float | None:
        """Return the median round time of syft_flwr divided by that of the machine's limit, bare."""
        return self.ours.times.median / self.limit.bare.median if self.limit else None

    @property
    def times_kept(self) -> float | None:
        """Return the median round time of syft_flwr divided by that of the machine's limit, kept."""
        return self.ours.times.median / self.limit.kept.median if self.limit else None

    def ratios(self) -> list[str]:
        """Return one line for each known ratio of medians."""
        ratios = {
            "Flower's deployment / syft_flwr": self.times_flower,
            "syft_flwr / the machine's own limit, bare": self.times_bare,
            "syft_flwr / the machine's own limit, kept": self.times_kept,
        }
        return [f"{name}: {value:.3g}" for name, value in ratios.items() if value is not None]


def compare(plan: Plan, *, flower_rounds: int, with_limit: bool, say: Callable[[str], None]) -> Comparison:
    """Measure a plan, one system after the other, and print each result at once.

    Args:
        plan: the measurement.
        flower_rounds: number of rounds of Flower's deployment, which take long; 0 to leave it out.
        with_limit: also measure the limit of the machine.
        say: prints one line.

    Raises:
        MeasurementError: syft_flwr gave no result.
    """
    result = ours.measure(plan)
    _say_all(result, say)
    bounds, theirs, failed = None, None, ""
    if with_limit:
        bounds = limit.measure(replace(plan, rounds=min(plan.rounds, _MOST_OF_LIMIT)))
        say("the machine's own limit for the same bytes (sealed files, without hashes, signatures or records)")
        say(f"  bare, not forced to disk and opened into one small buffer: {bounds.bare}")
        say(f"  kept, forced to disk and opened into fresh memory: {bounds.kept}")
    if flower_rounds:
        try:
            theirs = flower.measure(replace(plan, rounds=flower_rounds, per_process=1))
            _say_all(theirs, say)
        except MeasurementError as error:
            failed = str(error)
            say(f"Flower's deployment came to no result: {failed}")
    comparison = Comparison(result, theirs, bounds, failed)
    for line in comparison.ratios():
        say(line)
    return comparison


def _say_all(result: Result, say: Callable[[str], None]) -> None:
    for line in result.lines():
        say(line)
