"""The contract of a tracker, for each tracker: it keeps the run, also after a crash and with hostile texts."""

import math
from pathlib import Path
from typing import Any, cast

import pytest
from trackingkit.places import Place
from trackingkit.written_record import APP, DO1, DO2, DS, RUN, WrittenRecord

from syft_flwr.tracking.follower import RecordFollower
from syft_flwr.tracking.metric_keys import metric_key
from syft_flwr.tracking.tracker import TrackedFacts, Tracker, TrackerError

pytest.importorskip("mlflow", reason="make tracking-test installs MLflow")
pytest.importorskip("tensorboard", reason="make tracking-test installs TensorBoard")

FACTS = TrackedFacts(str(RUN), APP, DS)
OWNERS = ["do1_hospital-a.org", "do2_hospital-b.org"]


@pytest.fixture
def record(tmp_path: Path) -> WrittenRecord:
    return WrittenRecord(tmp_path / "runs")


def follow(place: Place, record: WrittenRecord) -> list[str]:
    """Give the tracker the record as it is at this moment, as a process that ends then; return its states."""
    states: list[str] = []
    follower = RecordFollower(
        place.open(),
        record.path,
        FACTS,
        lambda state, reason: states.append(f"{state} {reason}"),
    )
    follower.run(lambda _: True)
    return states


def test_metrics_of_the_run_and_of_each_owner_are_kept(place: Place, record: WrittenRecord) -> None:
    record.begin()
    record.round(1, 0.5)
    record.round(2, 0.25)
    record.end()
    assert follow(place, record) == ["sought ", "found ", "has-points ", "works "]
    expected = [(1, 0.5), (2, 0.25)]
    assert place.points() == {"train/loss": expected} | {f"train/loss/{owner}": expected for owner in OWNERS}


def test_continued_run_goes_on_without_doubled_points(place: Place, record: WrittenRecord) -> None:
    record.begin()
    record.round(1)
    record.round(2)
    follow(place, record)
    record.begin(resumed=1)
    for number in (1, 2, 3):
        record.round(number)
    follow(place, record)
    record.begin(resumed=2)
    for number in (1, 2, 3, 4):
        record.round(number)
    record.end()
    follow(place, record)
    expected = [(number, 0.5) for number in (1, 2, 3, 4)]
    assert place.points() == {"train/loss": expected} | {f"train/loss/{owner}": expected for owner in OWNERS}
    assert place.told()["state"] == "completed"


def test_lost_record_of_a_continued_run_doubles_no_point(place: Place, record: WrittenRecord) -> None:
    record.begin()
    record.round(1)
    follow(place, record)
    record.path.unlink()
    record.begin(resumed=1)
    record.round(1)
    record.round(2)
    follow(place, record)
    assert place.points()["train/loss"] == [(1, 0.5), (2, 0.5)]


@pytest.mark.parametrize("state", ["completed", "failed", "stopped"])
def test_end_of_a_run_is_told(place: Place, record: WrittenRecord, state: str) -> None:
    record.begin(settings={"min_replies": "0.8", "user_data_dir": "/private"}, run_config={"lr": 0.1, "name": "net"})
    record.end(state, "the app raised", [{"data_owner": DO1, "kind": "train", "reason": "app-raised", "failed": 1}])
    follow(place, record)
    told = place.told()
    assert told["state"] == state
    assert told["cause"] == "the app raised"
    assert DO1 in told["losses"]
    assert "app-raised" in told["losses"]
    assert (told["run"], told["app"], told["aggregator"], told["flwr"]) == (str(RUN), APP, DS, "1.40")
    assert (told["lr"], told["name"], told["setting.min_replies"]) == ("0.1", "net", "0.8")
    assert not any("/private" in text for text in told.values())


def test_run_that_was_not_ended_has_no_end(place: Place, record: WrittenRecord) -> None:
    record.begin()
    record.round(1)
    follow(place, record)
    assert place.told().get("state", "") == ""


def test_lists_texts_and_numbers_without_a_value_are_kept(place: Place, record: WrittenRecord) -> None:
    record.begin()
    record.reply(
        1, DO1, {"per-class": [0.25, 0.75], "bad": math.nan, "huge": 2**63, "note": "<b>fine</b>", "flag": True}
    )
    record.end()
    assert follow(place, record)[-1] == "works "
    points = place.points()
    owner = OWNERS[0]
    assert points[f"train/per-class/0/{owner}"] == [(1, 0.25)]
    assert points[f"train/per-class/1/{owner}"] == [(1, 0.75)]
    assert points[f"train/flag/{owner}"] == [(1, 1.0)]
    assert points[f"train/huge/{owner}"] == [(1, 2.0**63)]
    ((step, value),) = points[f"train/bad/{owner}"]
    assert step == 1
    assert math.isnan(value)
    assert place.told()[f"train/note/{owner}"] == "<b>fine</b>"


@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e308])
def test_largest_numbers_keep_their_sign(place: Place, record: WrittenRecord, value: float) -> None:
    record.begin()
    record.reply(1, DO1, {"m": value})
    record.end()
    assert follow(place, record)[-1] == "works "
    ((_, found),) = place.points()[f"train/m/{OWNERS[0]}"]
    assert math.copysign(1.0, found) == math.copysign(1.0, value)
    assert abs(found) > 1e300


def test_hostile_names_are_kept_apart(place: Place, record: WrittenRecord) -> None:
    names = [
        "a@b",
        "a_b",
        "a b",
        "../../x",
        "/abs",
        "a//b",
        ".",
        "",
        "x" * 400,
        "ü",
        "\u202ertl",
        "</script>",
        "=cmd()",
    ]
    record.begin(run_config=dict.fromkeys(names, "v"))
    record.reply(1, DO1, {name: number for number, name in enumerate(names)})
    record.reply(1, DO2, {name: -number for number, name in enumerate(names)})
    record.end()
    assert follow(place, record)[-1] == "works "
    points = place.points()
    assert len(points) == 2 * len(names)
    assert sorted(value for ((_, value),) in points.values()) == sorted(
        [*range(len(names)), *(-n for n in range(len(names)))]
    )
    assert points[metric_key("train", "a_b", DO1)] == [(1, 1.0)]


def test_many_points_are_kept_in_order(place: Place, record: WrittenRecord) -> None:
    record.begin()
    for number in range(1, 61):
        record.reply(number, DO1, {f"m{each}": number / 8 for each in range(50)})
    record.end()
    follow(place, record)
    points = place.points()
    assert len(points) == 50
    assert all(each == [(number, number / 8) for number in range(1, 61)] for each in points.values())


class Unsteady:
    """A tracker that fails at chosen calls, before or after it has done them."""

    def __init__(self, tracker: Tracker, failures: dict[int, str]) -> None:
        self._tracker = tracker
        self._failures = failures
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._tracker, name)

        def unsteady(*arguments: Any) -> Any:
            self._calls += 1
            when = self._failures.get(self._calls)
            if when == "before":
                raise TrackerError("it does not work")
            result = call(*arguments)
            if when == "after":
                raise TrackerError("its answer was lost")
            return result

        return unsteady


@pytest.mark.parametrize("when", ["before", "after"])
def test_call_that_fails_is_repeated_without_a_doubled_point(place: Place, record: WrittenRecord, when: str) -> None:
    if place.name == "tensorboard" and when == "after":
        pytest.skip("a file has no answer that can be lost")
    record.begin()
    for number in (1, 2, 3):
        record.round(number)
    record.end("failed", "the app raised")
    # One call after the other fails: the look, the begin, each question for old points, the points, the end.
    tracker = Unsteady(place.open(), dict.fromkeys((1, 3, 6, 9, 12, 15, 18), when))
    states: list[str] = []
    RecordFollower(cast("Tracker", tracker), record.path, FACTS, lambda state, _: states.append(state)).run(
        lambda _: False
    )
    assert states[-1] == "works"
    assert states.count("fails") >= 3
    expected = [(number, 0.5) for number in (1, 2, 3)]
    assert place.points() == {"train/loss": expected} | {f"train/loss/{owner}": expected for owner in OWNERS}
    assert place.told()["state"] == "failed"


def test_last_try_takes_all_points_since_the_first(place: Place, record: WrittenRecord) -> None:
    record.begin()
    record.round(1)

    def wait(seconds: float) -> bool:
        assert seconds > 0
        for number in (2, 3):
            record.round(number)
        record.end()
        return True

    tracker = Unsteady(place.open(), {6: "before"})
    RecordFollower(cast("Tracker", tracker), record.path, FACTS, lambda *_: None).run(wait)
    assert place.points()["train/loss"] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert place.told()["state"] == "completed"
