"""The points of a run's metrics, and those of them that a tracker does not have yet."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from syft_flwr.runs.entry import RecordEntry, fields_of
from syft_flwr.runs.events import Event, Metrics, RequestEnded, RoundStarted
from syft_flwr.tracking.metric_points import MetricPoint, NewPoints, PointReader

DO1 = "do1@hospital-a.org"
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def entry(event: Event) -> RecordEntry:
    return RecordEntry(1, NOON, 0.0, "a1", 77, event.name, fields_of(event))


def points(event: Event, reader: PointReader | None = None) -> list[tuple[str, int, Any]]:
    return [(each.key, each.step, each.value) for each in (reader or PointReader()).points(entry(event))]


def reply(round_name: str, metrics: Mapping[str, Any]) -> RequestEnded:
    return RequestEnded("m1", DO1, "train", "answered", round=round_name, metrics=metrics)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (0.5, [("central/m", 3, 0.5)]),
        (2, [("central/m", 3, 2.0)]),
        (True, [("central/m", 3, 1.0)]),
        ([1, 2.5], [("central/m/0", 3, 1.0), ("central/m/1", 3, 2.5)]),
        ([], []),
        (math.inf, [("central/m", 3, math.inf)]),
        ([-math.inf], [("central/m/0", 3, -math.inf)]),
        ("converged", [("central/m", 3, "converged")]),
    ],
)
def test_step_of_a_point_is_its_round(value: Any, found: list[tuple[str, int, Any]]) -> None:
    assert points(Metrics("3", "central", {"m": value})) == found


def test_number_that_is_none_stays_none() -> None:
    ((_, _, value),) = points(Metrics("1", "train", {"m": math.nan}))
    assert math.isnan(value)


def test_points_of_a_reply_have_its_data_owner() -> None:
    assert points(reply("2", {"m": [0.5]})) == [("train/m/0/do1_hospital-a.org", 2, 0.5)]


def test_other_events_have_no_points() -> None:
    assert points(RoundStarted("1", 3)) == []
    assert points(reply("1", {})) == []


def test_values_outside_of_rounds_have_their_own_key() -> None:
    reader = PointReader()
    found = [points(reply(name, {"m": 1}), reader)[0][:2] for name in ("warm-up", "7", "tune", "", "9" * 40)]
    owner = "do1_hospital-a.org"
    others = [(f"train.no-round/m/{owner}", step) for step in (1, 2, 3, 4)]
    assert found == [others[0], (f"train/m/{owner}", 7), *others[1:]]


def test_steps_of_a_key_only_grow() -> None:
    rounds = ("1", "2", "", "1", "2", "", "final", "3", "1")
    reader, steps = PointReader(), defaultdict[str, list[int]](list)
    for name in rounds:
        for key, step, _ in points(Metrics(name, "evaluate", {"m": 1}), reader):
            steps[key].append(step)
    assert steps == {
        "evaluate/m": [1, 2, 3],
        "evaluate.no-round/m": [1, 2, 3],
        "evaluate.again-2/m": [1, 2],
        "evaluate.again-3/m": [1],
    }


def test_continued_run_gives_a_value_the_same_key_and_step() -> None:
    reader = PointReader()
    first, second = ([*points(reply("", {"m": 1}), reader), *points(reply("1", {"m": 1}), reader)] for _ in range(2))
    again = PointReader()
    mine = [each for name in ("", "1") for each in again.points(entry(reply(name, {"m": 1})))]
    resumed = [each for name in ("", "1") for each in again.points(replace(entry(reply(name, {"m": 1})), process="b2"))]
    assert [(each.key, each.step) for each in mine] == [(each.key, each.step) for each in resumed]
    assert first[0][:2] != second[0][:2]


def point(step: int, key: str = "train/m") -> MetricPoint:
    return MetricPoint(key, step, NOON, 0.5)


def test_metrics_of_a_continued_run_are_not_doubled() -> None:
    new = NewPoints(lambda key: {})
    made = [("one", 1), ("one", 2), ("two", 1), ("two", 2), ("two", 3), ("three", 1), ("three", 4)]
    assert [step for process, step in made if new.add(process, point(step))] == [1, 2, 3, 4]


def test_second_value_of_a_step_in_one_process_is_new() -> None:
    new = NewPoints(lambda key: {})
    assert [new.add("one", point(1)) for _ in range(2)] == [True, True]
    # The continued run makes both again, and a third one.
    assert [new.add("two", point(1)) for _ in range(3)] == [False, False, True]


def test_points_that_the_tracker_has_are_not_new() -> None:
    asked: Counter[str] = Counter()

    def held(key: str) -> Mapping[int, int]:
        asked[key] += 1
        return {1: 1, 2: 1} if key == "train/m" else {}

    new = NewPoints(held)
    assert [new.add("two", point(step)) for step in (1, 2, 3)] == [False, False, True]
    assert new.add("two", point(1, "train/other"))
    assert asked == {"train/m": 1, "train/other": 1}


def test_point_counts_as_seen_only_if_the_tracker_answered() -> None:
    answers = iter([OSError("not now"), {}])

    def held(key: str) -> Mapping[int, int]:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    new = NewPoints(held)
    with pytest.raises(OSError, match="not now"):
        new.add("one", point(1))
    assert new.add("one", point(1))
