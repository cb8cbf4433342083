"""A data owner decides the run configuration of its app, and sees the differences to its own project."""

import math

import pytest
from flwr.common.config import unflatten_dict

from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.owner_config import OwnerConfig

OWN = {"lr": 0.1, "rounds": 3, "name": "small"}
SENT = {"lr": 0.5, "rounds": 3, "more": True}
RUN, AGGREGATOR = 7, "ds@x.org"


@pytest.mark.parametrize(
    ("policy", "pins", "seen", "kept"),
    [
        ("sent", {}, {**OWN, **SENT}, []),
        ("sent", {"lr": 0.01}, {**OWN, **SENT, "lr": 0.01}, ["lr"]),
        ("sent", {"lr": 0.5, "rounds": 3}, {**OWN, **SENT}, []),
        ("sent", {"name": "large"}, {**OWN, **SENT, "name": "large"}, []),
        ("own", {}, OWN, ["lr", "more"]),
        ("own", {"more": True}, {**OWN, "more": True}, ["lr"]),
        ("own", {"lr": math.nan}, {**OWN, "lr": math.nan}, ["lr", "more"]),
    ],
)
def test_setting_and_pins_decide_what_the_app_sees(
    policy: str, pins: dict[str, float], seen: dict[str, object], kept: list[str]
) -> None:
    config = OwnerConfig(dict(OWN), policy, pins)

    assert str(config.seen_by_app(SENT)) == str(seen) or config.seen_by_app(SENT) == seen
    assert config.kept_keys(SENT) == kept


def test_pin_that_the_project_does_not_know_is_a_warning(logged: list[str]) -> None:
    OwnerConfig(dict(OWN), "sent", {"lr": 0.01, "local-epcohs": 7}).warn_of_unused_pins()
    # A program that passes no configuration of a project has nothing to compare.
    OwnerConfig({}, "sent", {"lr": 0.01}).warn_of_unused_pins()

    (line,) = logged
    assert line.startswith("WARNING run_config_pins: the run configuration of the project has no 'local-epcohs';")


def test_value_of_another_type_counts_as_kept() -> None:
    config = OwnerConfig({"one": 1}, "own", {})

    assert config.kept_keys({"one": 1.0}) == config.kept_keys({"one": True}) == ["one"]
    assert config.kept_keys({"one": 1}) == []


def test_each_message_gets_a_new_dict() -> None:
    config = OwnerConfig(dict(OWN), "sent", {})
    config.seen_by_app(SENT)["lr"] = 9.0
    config.seen_by_app({})["lr"] = 9.0

    assert config.seen_by_app(SENT)["lr"] == 0.5
    assert config.seen_by_app({}) == OWN


def test_differences_are_logged_once_for_each_run(logged: list[str]) -> None:
    config = OwnerConfig(dict(OWN), "own", {})
    for run in (7, 7, 8):
        config.note_request(run, AGGREGATOR, SENT)

    text = "its run configuration differs from the project here: lr = 0.5 (own: 0.1, kept); more = true (own: nothing, kept)"
    assert logged == [f"INFO run {run} of {AGGREGATOR}: {text}" for run in (7, 8)]


@pytest.mark.parametrize(("pin", "shown"), [(0.01, "pinned: 0.01"), (0.1, "kept")])
def test_log_shows_the_pinned_value_that_the_app_sees(pin: float, shown: str, logged: list[str]) -> None:
    OwnerConfig({"lr": 0.1}, "sent", {"lr": pin}).note_request(RUN, AGGREGATOR, {"lr": 0.5})

    (line,) = logged
    assert line.endswith(f": lr = 0.5 (own: 0.1, {shown})")


def test_same_configuration_logs_nothing(logged: list[str]) -> None:
    OwnerConfig(dict(OWN), "sent", {}).note_request(RUN, AGGREGATOR, dict(OWN))

    assert logged == []


def test_log_line_of_hostile_values_is_bounded(logged: list[str]) -> None:
    OwnerConfig({}, "sent", {}).note_request(RUN, AGGREGATOR, {"k" * 100 + str(n): "\n\x1b" * 60 for n in range(256)})

    (line,) = logged
    assert line.isprintable()
    assert len(line) < 8_000
    assert line.endswith("; and 236 more")


@pytest.mark.parametrize(
    "sent",
    [
        {"model": "theirs"},
        {"model.rate.value": 9.0},
        {"MODEL.rate": 9.0},
        {"Model": "theirs"},
        {"model.\uff52\uff41\uff54\uff45": 9.0},
        {"model.rate": 9.0},
    ],
)
def test_pin_wins_over_another_spelling_and_level(sent: dict[str, object]) -> None:
    config = OwnerConfig({}, "sent", {"model.rate": 0.1})

    assert config.seen_by_app(sent) == {"model.rate": 0.1}
    # Apps of Flower make nested dicts of the keys.
    assert unflatten_dict(config.seen_by_app(sent)) == {"model": {"rate": 0.1}}
    assert config.kept_keys(sent) == list(sent)


def test_dash_and_underscore_of_a_pin_are_one_key() -> None:
    config = OwnerConfig({}, "sent", {"local-epochs": 1})

    assert config.seen_by_app({"local_epochs": 99, "local-epoch": 2}) == {"local-epochs": 1, "local-epoch": 2}


def test_own_key_beside_a_pin_takes_the_sent_value() -> None:
    config = OwnerConfig({"LR": 1.0, "lr": 2.0}, "sent", {"lr": 0.1})

    assert config.seen_by_app({"LR": 5.0, "lr": 9.0, "model": "x"}) == {"LR": 5.0, "lr": 0.1, "model": "x"}


def test_changed_value_is_not_hidden_behind_new_keys(logged: list[str]) -> None:
    new = {f"a{number:03}": number for number in range(255)}
    OwnerConfig({"lr": 0.1}, "sent", {}).note_request(RUN, AGGREGATOR, {**new, "lr": 9.0})

    (line,) = logged
    assert ": lr = 9.0 (own: 0.1); a000 = 0 (own: nothing); " in line
    assert line.endswith("; and 235 more")


def test_key_cannot_look_like_a_value_in_the_log(logged: list[str]) -> None:
    sent = {"x = 1 (own: 1); lr": 9.0, "größe-1.b": 1}
    OwnerConfig({}, "sent", {}).note_request(RUN, AGGREGATOR, sent)

    (line,) = logged
    assert line.endswith(': "x = 1 (own: 1); lr" = 9.0 (own: nothing); größe-1.b = 1 (own: nothing)')


@pytest.mark.parametrize("later", [{"lr": 0.5, "rounds": 4}, {"lr": 0.5}, {"lr": 0.5, "rounds": 3.0}, {}])
def test_other_configuration_in_the_same_run_is_refused(later: dict[str, float], logged: list[str]) -> None:
    first = {"lr": 0.5, "rounds": 3}
    config = OwnerConfig(dict(first), "sent", {})
    config.note_request(RUN, AGGREGATOR, first)

    with pytest.raises(MalformedError, match="not the same as in an earlier request"):
        config.note_request(RUN, AGGREGATOR, later)
    config.note_request(RUN, AGGREGATOR, dict(reversed(first.items())))
    assert logged == []

    config.note_request(RUN + 1, AGGREGATOR, later)
    config.forget(RUN)
    config.note_request(RUN, AGGREGATOR, later)
