"""Whole runs with trackers, by settings alone: both strategy APIs, and only at the aggregator."""

from pathlib import Path

import pytest
from trackingkit.places import Place
from trackingkit.training import client_app, legacy_client_app, legacy_server_app, server_app, train

OWNERS = ["do1_hospital-a.org", "do2_hospital-b.org"]


def test_strategy_of_the_message_api_is_tracked(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setenv("SYFT_FLWR_TRACKING", place.name)
    run = train(tmp_path / "home", server_app(3), client_app()).run_id
    points = place.points(run)
    assert points["train/loss"] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert points["evaluate/accuracy"] == [(1, 0.75), (2, 0.75), (3, 0.75)]
    assert points["central/central-loss"][0] == (0, 1.0)
    assert [line for line in logged if line.startswith(("WARNING", "ERROR"))] == []


def test_strategy_of_the_older_api_is_tracked(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYFT_FLWR_TRACKING", place.name)
    run = train(tmp_path / "home", legacy_server_app(2), legacy_client_app()).run_id
    points = place.points(run)
    assert points["evaluate/loss"] == [(1, 0.25), (2, 0.25)]
    assert points["evaluate/accuracy"] == [(1, 0.75), (2, 0.75)]
