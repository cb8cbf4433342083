"""Shows that a resumed run draws the same random numbers, so that each answered request is asked again and used again."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from faultkit import averaging
from faultkit.federation import AGGREGATOR, Federation
from faultkit.machine import Machine
from faultkit.storage import FolderStorage, MemoryStorage
from waiting import PATIENCE

from syft_flwr.runs.events import CONTROL

OWNERS = tuple(f"do{number}@hospital-{number}.example" for number in range(3))


def test_only_a_resumed_run_draws_the_same_numbers(tmp_path: Path, memory: MemoryStorage) -> None:
    with Federation(tmp_path / "homes", memory, OWNERS[:1]) as federation:
        random.seed(1)
        federation.begin_run(5)
        first = random.random()
        assert first == random.Random(1).random()
        federation.abandon()
        random.seed(2)
        federation.begin_run(5)
        assert random.random() == first
        # The program continues, as the first process would have done.
        second = random.random()
        federation.begin_run(5)
        third = random.random()
        federation.begin_run(6)
        numbers = {first, second, third, random.random()}
        federation.close_grid()
        federation.begin_run(6)
        numbers.add(random.random())
    assert len(numbers) == 5


@pytest.mark.parametrize("fraction", [1.0, 0.5])
@pytest.mark.parametrize("api", ["message", "legacy"])
def test_resumed_run_uses_every_reply_again(
    tmp_path: Path, folder: FolderStorage, monkeypatch: pytest.MonkeyPatch, api: str, fraction: float
) -> None:
    monkeypatch.setenv("FRACTION", str(fraction))
    legacy = "legacy_" if api == "legacy" else ""
    client_app = averaging.legacy_client_app if legacy else averaging.client_app
    server = Machine(
        tmp_path / "machines",
        AGGREGATOR,
        folder.data_dir,
        server_app=f"{legacy}server_app",
        owners=OWNERS,
        module="faultkit.averaging",
    )
    command = ("server", str(server.project))
    try:
        with Federation(tmp_path / "homes", folder, OWNERS, client_app=client_app) as federation:
            for owner in federation.owners.values():
                owner.start()
            assert server.start(*command).wait(PATIENCE) == -9, server.log.read_text()
            assert server.start(*command).wait(PATIENCE) == 0, server.log.read_text()
            for owner in federation.owners.values():
                owner.join()
    finally:
        server.close()

    ends, asked = ends_since_the_kill(server), 3 if fraction == 1.0 else 2
    # Training and evaluation of the rounds before the kill, and the training of the round of the kill.
    assert sum(ended.get("replayed", False) for ended in ends) == (2 * averaging.LAST_ROUND - 1) * asked
    assert len(ends) == 2 * averaging.ROUNDS * asked


def ends_since_the_kill(server: Machine) -> list[dict[str, Any]]:
    """Return the ends of the requests of the app in the record, since the run continued."""
    (path,) = (path for path in server.root.rglob("*.aggregator.jsonl") if int(path.name.partition(".")[0], 16))
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    (resumed,) = (number for number, entry in enumerate(entries) if entry["event"] == "run-resumed")
    return [each for each in entries[resumed:] if each["event"] == "request-ended" and each["kind"] != CONTROL]
