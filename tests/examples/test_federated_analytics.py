"""examples/federated-analytics: the sums over all hospitals are right, and small groups stay at their hospital."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pandas", reason="make examples installs pandas")

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

_MINIMUM = 10


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "admissions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _allowed(
    tables: list[list[dict[str, str]]], by: Callable[[dict[str, str]], str]
) -> tuple[Counter[str], Counter[str], int]:
    """Return counts, nights, and the number of withheld groups, counted row by row without pandas."""
    counts: Counter[str] = Counter()
    nights: Counter[str] = Counter()
    withheld = 0
    for rows in tables:
        sizes = Counter(map(by, rows))
        withheld += sum(size < _MINIMUM for size in sizes.values())
        for row in rows:
            if sizes[by(row)] >= _MINIMUM:
                counts[by(row)] += 1
                nights[by(row)] += int(row["nights"])
    return counts, nights, withheld


def _ward(row: dict[str, str]) -> str:
    return row["ward"]


def _age(row: dict[str, str]) -> str:
    low = int(row["age"]) // 20 * 20
    return f"{low} to {low + 19}"


@pytest.mark.parametrize("kind", ["private", "mock"])
def test_sums_are_those_of_the_large_groups(trial: Any, kind: str) -> None:
    federation = trial("federated-analytics")
    tables = [_rows(folder) for folder in federation.data(kind)]

    federation.run(kind)

    results = json.loads((federation.output / "results.json").read_text(encoding="utf-8"))
    counts, nights, withheld = _allowed(tables, _ward)
    assert withheld > 0
    by_ward = {"hospitals": 3, "withheld": withheld, "count": dict(counts)}
    assert results["admissions by ward"] == by_ward
    assert results["nights by ward"] == by_ward | {"mean": {ward: nights[ward] / counts[ward] for ward in counts}}
    counts, _, withheld = _allowed(tables, _age)
    assert results["admissions by age"] == {"hospitals": 3, "withheld": withheld, "count": dict(counts)}


def test_data_owner_raises_the_minimum_and_names_columns(trial: Any) -> None:
    trial("federated-analytics")
    from federated_analytics.client_app import app
    from flwr.app import ConfigRecord, Context, Message, RecordDict

    def ask(query: dict[str, str], kind: str = "count", **node: int) -> Message:
        context = Context(
            run_id=1, node_id=2, node_config={"partition-id": 0, **node}, state=RecordDict(), run_config={}
        )
        return app(Message(RecordDict({"query": ConfigRecord(query)}), 2, f"query.{kind}"), context)

    usual = ask({"by": "ward"}).content["count"]
    assert dict(ask({"by": "ward"}, **{"min-group-size": 1}).content["count"]) == dict(usual)
    raised = ask({"by": "ward"}, **{"min-group-size": 30}).content
    assert set(raised["count"]) < set(usual)
    assert raised["withheld"]["groups"] == len(usual) - len(raised["count"])
    with pytest.raises(ValueError, match="groups by 'nights' are not allowed"):
        ask({"by": "nights"})
    with pytest.raises(ValueError, match="the mean of 'age' is not allowed"):
        ask({"by": "ward", "of": "age"}, "mean")
