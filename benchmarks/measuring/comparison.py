"""One plan, measured side by side: this package, Flower's own deployment, and the bare machine."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from measuring import flower, limit, ours
from measuring.limit import Limit
from measuring.plan import Plan
from measuring.processes import MeasurementError
from measuring.result import Result

#: Rounds of the bare machine, which is steady.
_MOST_OF_LIMIT = 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found; None for what was not measured."""

    ours: Result
    flower: Result | None = None
    limit: Limit | None = None
    #: Why Flower's deployment came to no result, where it was tried.
    flower_failed: str = ""

    @property
    def plan(self) -> Plan:
        return self.ours.plan

    @property
    def times_flower(self) -> float | None:
        """How many of our rounds fit into one of Flower's, by the medians."""
        return self.flower.times.median / self.ours.times.median if self.flower else None

    @property
    def times_bare(self) -> float | None:
        """How many of the bare machine's rounds fit into one of ours, by the medians."""
        return self.ours.times.median / self.limit.bare.median if self.limit else None

    @property
    def times_kept(self) -> float | None:
        """The same where the bare machine keeps what it writes and reads."""
        return self.ours.times.median / self.limit.kept.median if self.limit else None

    def ratios(self) -> list[str]:
        """Say how the medians compare."""
        ratios = {
            "Flower's deployment / syft_flwr": self.times_flower,
            "syft_flwr / the machine's own limit, bare": self.times_bare,
            "syft_flwr / the machine's own limit, kept": self.times_kept,
        }
        return [f"{name}: {value:.3g}" for name, value in ratios.items() if value is not None]


def compare(plan: Plan, *, flower_rounds: int, with_limit: bool, say: Callable[[str], None]) -> Comparison:
    """Measure a plan, one system after the other, and say each result as it comes.

    Args:
        plan: what to measure.
        flower_rounds: rounds of Flower's deployment, which are long; 0 for none.
        with_limit: measure the bare machine, too.
        say: gets each line of the results.

    Raises:
        MeasurementError: ours came to no result.
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
