"""The run configuration over a whole federation: it reaches the app with each message, and no hostile one does harm."""

import contextlib
import json
import math
import struct
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of, question, reason_of
from faultkit.forge import Forge, body_of
from faultkit.machine import Machine
from faultkit.storage import FolderStorage, MemoryStorage
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from waiting import PATIENCE, eventually

from syft_flwr._messaging.wire.body import Body, Manifest, Seconds
from syft_flwr._messaging.wire.limits import MAX_MANIFEST, MAX_RUN_CONFIG
from syft_flwr._store.futures import Futures
from syft_flwr._store.states import RunState
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator import SyftGrid
from syft_flwr.fl_orchestrator.control import Action, control_message
from syft_flwr.fl_orchestrator.owner_config import OwnerConfig
from syft_flwr.fl_orchestrator.request_config import config_to_buffer
from syft_flwr.flower import SYSTEM_MESSAGE_TYPE, Run, set_task_identity
from syft_flwr.runs.record import record_path, runs_folder
from syft_flwr.runs.record_reader import read_entries

RUN = 1001
ODD = {"lr": 0.5, "top": math.inf, "bad": math.nan, "n": -(1 << 63), "on": True, "name": "größe \"'\n"}

client_app = ClientApp()
kept: list[Context] = []


@client_app.query()
def tell(message: Message, context: Context) -> Message:
    """Reply with the run configuration, then change it in each way."""
    kept[:1] = [context]
    found = dict(context.run_config)
    context.run_config["lr"] = 99.0
    context.run_config["new"] = "of the app"
    context.run_config.pop("name", None)
    if message.content["ask"]["behaviour"] == "replace":
        context.run_config = {"all": "gone"}
    if message.content["ask"]["behaviour"] == "raise":
        raise ValueError("after the change")
    # JSON has no place in a record for a mixture of types.
    return Message(RecordDict({"answer": ConfigRecord({"seen": json.dumps(found)})}), reply_to=message)


def seen(reply: Message) -> dict[str, Any]:
    return dict(json.loads(answer_of(reply)["seen"]))


def begin(federation: Federation, config: dict[str, Any], run: int = RUN) -> SyftGrid:
    if federation.grid is None:
        federation.grid = SyftGrid(federation.app, federation.emails, client=federation.participant)
    federation.grid.set_run(replace(Run.create_empty(run), override_config=config))
    return federation.grid


@contextlib.contextmanager
def told(
    root: Path, storage: Any, config: dict[str, Any], emails: tuple[str, ...] = OWNERS[:1], **options: Any
) -> Iterator[Federation]:
    chosen = {OWNERS[0]: options}
    with Federation(root, storage, emails=emails, options=chosen, client_app=client_app) as federation:
        for owner in federation.owners.values():
            owner.start()
        begin(federation, config)
        yield federation


def test_configuration_reaches_the_app_with_each_message(storage: Any, tmp_path: Path) -> None:
    with told(tmp_path, storage, ODD, OWNERS) as federation:
        for reply in federation.ask("tell") + federation.ask("tell"):
            found = seen(reply)
            assert found.pop("journal").endswith(".journal")
            assert str(found) == str(dict(sorted(ODD.items())))


@pytest.mark.parametrize("change", ["tell", "replace", "raise"])
def test_change_of_an_app_ends_with_its_message(change: str, memory: MemoryStorage, tmp_path: Path) -> None:
    with told(tmp_path, memory, {"lr": 0.5, "name": "x"}) as federation:
        federation.ask(change)
        first = kept[0]
        (reply,) = federation.ask("tell")

        assert {**seen(reply), "journal": ""} == {"journal": "", "lr": 0.5, "name": "x"}
        assert change == "raise" or kept[0] is first


def test_change_of_an_app_in_a_worker_ends_with_its_message(folder_with_workers: FolderStorage, tmp_path: Path) -> None:
    # A worker cannot import a module of tests.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with told(tmp_path, folder_with_workers, ODD) as federation:
        for change in ("tell", "replace", "raise", "tell"):
            (reply,) = federation.ask(change)
        found = seen(reply)
        del found["journal"]
        assert str(found) == str(dict(sorted(ODD.items())))


def test_next_run_has_its_own_configuration(memory: MemoryStorage, tmp_path: Path) -> None:
    with told(tmp_path, memory, {"lr": 0.5, "only": 1}) as federation:
        assert seen(federation.ask()[0])["only"] == 1
        begin(federation, {"lr": 0.7}, RUN + 1)
        found = seen(federation.ask()[0])
        assert (found["lr"], "only" in found) == (0.7, False)


def test_run_of_an_id_has_the_values_of_the_owner(memory: MemoryStorage, tmp_path: Path) -> None:
    with told(tmp_path, memory, {}) as federation:
        assert set(seen(federation.ask()[0])) == {"journal"}


def test_owner_keeps_its_own_values(memory: MemoryStorage, tmp_path: Path, logged: list[str]) -> None:
    with told(tmp_path, memory, {"lr": 0.5, "journal": "/tmp/x"}, run_config="own") as federation:
        for _ in range(2):
            found = seen(federation.ask()[0])
            assert (set(found), found["journal"].endswith(".journal")) == ({"journal"}, True)
    text = f"{OWNERS[0]} keeps its own run configuration for journal, lr"
    assert [line.endswith(text) for line in logged if "keeps its own" in line] == [True]
    assert_recorded(tmp_path, ["journal", "lr"])


def test_pinned_values_win_over_the_sent_ones(memory: MemoryStorage, tmp_path: Path, logged: list[str]) -> None:
    pins = {"lr": 0.01, "hidden": "secret"}
    with told(tmp_path, memory, {"lr": 0.5, "rounds": 3}, OWNERS, run_config_pins=pins) as federation:
        one, other = federation.ask()
        assert {**seen(one), "journal": ""} == {"journal": "", "rounds": 3, **pins}
        assert {**seen(other), "journal": ""} == {"journal": "", "lr": 0.5, "rounds": 3}
        # Also in an error.
        assert reason_of(federation.ask("raise", OWNERS[0])[0])
    assert [line for line in logged if "keeps its own" in line] == [
        f"INFO run {RUN} (faults): {OWNERS[0]} keeps its own run configuration for lr"
    ]
    # Only the data owner's own warning names a pin that the project does not know.
    others = [line for line in logged if not line.startswith("WARNING run_config_pins: ")]
    assert not [line for line in logged if "secret" in line]
    assert not [line for line in others if "hidden" in line]
    assert_recorded(tmp_path, ["lr"])


def test_records_of_both_sides_hide_secrets(memory: MemoryStorage, tmp_path: Path) -> None:
    config = {"lr": 0.5, "api-token": "hunter2", "store": "https://ann:hunter2@host.org/x", "note": "a\u202eb"}
    with told(tmp_path, memory, config, run_config_pins={"db_password": "hunter2", "lr": 0.1}) as federation:
        (reply,) = federation.ask("say")
        assert seen(reply)["api-token"] == "hunter2"
    shown = {"lr": 0.5, "api-token": "***", "store": "https://***@host.org/x", "note": r"a\u202eb"}
    for email, role, expected in (
        (AGGREGATOR, "aggregator", shown),
        (OWNERS[0], "datasite", shown | {"lr": 0.1, "db_password": "***"}),
    ):
        runs = runs_folder(tmp_path / email / "apps" / federation.app)
        first = next(entry for entry in read_entries(record_path(runs, RUN, role)) if entry.event == "run-started")
        assert {key: value for key, value in first.fields["run_config"].items() if key != "journal"} == expected
        assert "hunter2" not in "".join(path.read_text() for path in runs.iterdir() if path.name.endswith(".jsonl"))


def assert_recorded(root: Path, keys: list[str]) -> None:
    path = root / AGGREGATOR / "apps" / "faults" / "runs"
    (record,) = path.glob(f"*{RUN:x}*.aggregator.jsonl") or path.glob("*.aggregator.jsonl")
    entries = [json.loads(line) for line in record.read_text().splitlines()]
    assert [(each["data_owner"], each["keys"]) for each in entries if each["event"] == "config-kept"] == [
        (OWNERS[0], keys)
    ]


def test_owner_logs_the_differences_once(memory: MemoryStorage, tmp_path: Path, logged: list[str]) -> None:
    with told(tmp_path, memory, {"lr": 0.5}) as federation:
        federation.ask()
        federation.ask()
    assert [line for line in logged if "differs from the project here" in line] == [
        f"INFO run {RUN} of {AGGREGATOR}: its run configuration differs from the project here: lr = 0.5 (own: nothing)"
    ]


HOSTILE = {
    "none": None,
    "no protobuf": b"\xff\xff",
    "too large": bytes(MAX_RUN_CONFIG + 1),
    "another record": config_to_buffer({}).replace(b"run-config", b"run_config"),
    "control characters": config_to_buffer({"a.b": 1}).replace(b"a.b", b"a\nb"),
    "an invisible character": config_to_buffer({"a.b": 1}).replace(b"a.b", "\u3164".encode()),
    "a right-to-left override": config_to_buffer({"a.b": 1}).replace(b"a.b", "\u202e".encode()),
    "a lone surrogate": config_to_buffer({"a.b": 1}).replace(b"a.b", b"\xed\xa0\x80"),
    "an empty key": config_to_buffer({"a": 1}).replace(b"\x01a", b"\x01\x00"),
    "many keys": config_to_buffer({str(n): n for n in range(300)}),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("control", [False, True])
def test_hostile_configuration_gets_an_error(kind: str, control: bool, memory: MemoryStorage, tmp_path: Path) -> None:
    with told(tmp_path, memory, {"lr": 0.5}) as federation:
        forge = Forge(federation, OWNERS[0], RUN)
        set_task_identity(RUN, 1)
        records = control_message(Action.PING, "", dst_node_id=1, group_id="").content if control else question("tell")
        header = {"type": SYSTEM_MESSAGE_TYPE if control else "query"}
        name, data = forge.request(body=body_of(records, HOSTILE[kind]), **header)
        memory.plant(name, data)

        assert forge.open_error(name).code == "invalid"
        assert seen(federation.ask()[0])["lr"] == 0.5


#: Keys and values that mean something elsewhere: to Python, to a shell, to a log, to an app, or as a setting of this package.
STRANGE = {
    "__class__": "x",
    "__proto__.polluted": True,
    "tool.syft_flwr.encryption": False,
    "encryption": False,
    "worker_command": "sh -c exit",
    "SYFT_FLWR_RUN_CONFIG": "own",
    "..": 1,
    "a..b": 2,
    ".a": 3,
    "{0.__class__}": "{0.__class__}",
    "home": "~/.ssh/id_ed25519",
    "variable": "$HOME",
    "url": "file:///etc/passwd",
    "token": "ghp_secret",
    "control": "\x1b]52;c;eA==\x07\u202e\n<red>",
}


def test_strange_keys_and_values_are_only_data(memory: MemoryStorage, tmp_path: Path, logged: list[str]) -> None:
    with told(tmp_path, memory, STRANGE) as federation:
        before = federation.owners[OWNERS[0]].participant.settings
        found = seen(federation.ask()[0])
        del found["journal"]

        assert found == dict(sorted(STRANGE.items()))
        assert federation.owners[OWNERS[0]].participant.settings == before
    # The log of the owner has the values, escaped; no record has one.
    assert any("ghp_secret" in line for line in logged)
    assert all(line.isprintable() for line in logged if "differs from the project here" in line)
    records = list((tmp_path / OWNERS[0]).rglob("*.jsonl")) + list((tmp_path / AGGREGATOR).rglob("*.jsonl"))
    assert records
    assert not [path for path in records if "ghp_secret" in path.read_text()]


def test_other_configuration_in_a_later_request_gets_an_error(
    memory: MemoryStorage, tmp_path: Path, logged: list[str]
) -> None:
    with told(tmp_path, memory, {"lr": 0.5}) as federation:
        federation.ask()
        forge = Forge(federation, OWNERS[0], RUN)
        name, data = forge.request(body=body_of(question("tell"), config_to_buffer({"lr": 9.0, "secret": "x"})))
        memory.plant(name, data)

        error = forge.open_error(name)
        assert (error.code, "not the same as in an earlier request" in error.text) == ("invalid", True)
        assert seen(federation.ask()[0])["lr"] == 0.5
    assert not [line for line in logged if "9.0" in line]


def body_with(**fields: Any) -> Body:
    body = body_of(question("tell"), config_to_buffer({}))
    return replace(body, manifest=body.manifest.model_copy(update=fields))


class _LongManifest(Body):
    """A body with a manifest at its limit, which would be longer after it was read and written again."""

    def encode(self) -> bytes:
        return long_manifest()


def long_manifest() -> bytes:
    body = body_of(question("tell"), config_to_buffer({}))
    manifest = {
        "buffers": [ref.model_dump(exclude_defaults=True) for ref in body.manifest.buffers],
        "objects": [{"id": f"{n:032x}", "size": 1, "key": "0" * 64, "sha256": "0" * 64} for n in range(14_000)],
        "kept_keys": ["\U00020000" * 128] * 256,
    }
    text = json.dumps(manifest, separators=(",", ":"), ensure_ascii=False).encode()
    assert MAX_MANIFEST - 250_000 < len(text) <= MAX_MANIFEST
    return struct.pack(">I", len(text)) + text + body.inline


#: Bodies of requests with fields that only replies have.
LIKE_REPLIES = {
    "kept keys": lambda: body_with(kept_keys=["lr"]),
    "seconds": lambda: body_with(seconds=Seconds(run=1.0)),
    "a long manifest": lambda: _LongManifest(Manifest(), b""),
}


@pytest.mark.parametrize("kind", LIKE_REPLIES)
def test_request_with_a_field_of_replies_gets_an_error(kind: str, memory: MemoryStorage, tmp_path: Path) -> None:
    with told(tmp_path, memory, {"lr": 0.5}) as federation:
        forge = Forge(federation, OWNERS[0], RUN)
        body = LIKE_REPLIES[kind]()
        name, data = forge.request(body=body)
        memory.plant(name, data)

        error = forge.open_error(name)
        assert (error.code, error.text) == ("invalid", "the manifest of a request has a field that only replies have")
        assert seen(federation.ask()[0])["lr"] == 0.5


def test_kept_keys_that_were_never_sent_are_ignored(
    memory: MemoryStorage, tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = ["lr", "secret", *(f"run {number} has failed" for number in range(254))]
    monkeypatch.setattr(OwnerConfig, "kept_keys", lambda *_: named)
    with told(tmp_path, memory, {"lr": 0.5, "rounds": 3}) as federation:
        federation.ask()
    assert [line for line in logged if "keeps its own" in line] == [
        f"INFO run {RUN} (faults): {OWNERS[0]} keeps its own run configuration for lr"
    ]
    assert_recorded(tmp_path, ["lr"])


@pytest.mark.parametrize(
    "config", [{"a": [1]}, {"a": None}, {"a\n": 1}, {"a": 1 << 63}, {str(n): n for n in range(257)}]
)
def test_bad_configuration_is_refused_before_the_run(
    config: dict[str, Any], memory: MemoryStorage, tmp_path: Path
) -> None:
    with Federation(tmp_path, memory) as federation:
        with pytest.raises(ConfigError, match=r"^override_config of the run: "):
            begin(federation, config)
        assert federation.grid
        assert not federation.grid._futures.runs.all()


def test_continued_run_refuses_another_configuration(memory: MemoryStorage, tmp_path: Path) -> None:
    with told(tmp_path, memory, {"lr": 0.5}) as federation:
        before = federation.ask()
        path = tmp_path / AGGREGATOR / "apps" / "faults" / "futures.db"
        with pytest.raises(ConfigError, match=rf"run {RUN} was started with lr = 0.5, and would continue with 0.1"):
            begin(federation, {"lr": 0.1})
        with closing(Futures(path, read_only=True)) as futures:
            assert [row.state for row in futures.runs.all()] == [RunState.RUNNING]
        assert seen(federation.ask()[0]) == seen(before[0])


def test_answered_request_is_sent_again_in_another_run(memory: MemoryStorage, tmp_path: Path) -> None:
    with told(tmp_path, memory, {"lr": 0.5}) as federation:
        first = federation.ask()
        begin(federation, {"lr": 0.1}, RUN + 1)
        assert (seen(first[0])["lr"], seen(federation.ask()[0])["lr"]) == (0.5, 0.1)


def test_digest_of_a_request_covers_its_configuration(memory: MemoryStorage, tmp_path: Path) -> None:
    path = tmp_path / AGGREGATOR / "apps" / "faults" / "futures.db"
    with told(tmp_path, memory, {"lr": 0.5}) as federation:
        digests = []
        for run, config in ((RUN + 1, {"lr": 0.5}), (RUN + 2, {"lr": 0.1}), (RUN + 3, {"lr": 0.5})):
            begin(federation, config, run)
            federation.ask()
            with closing(Futures(path, read_only=True)) as futures:
                digests += [row.content for row in futures.of_run(run) if row.type == "query"]
        assert digests[0] == digests[2] != digests[1]


def test_killed_run_continues_only_with_its_configuration(tmp_path: Path, folder: FolderStorage) -> None:
    machine = Machine(tmp_path, AGGREGATOR, folder.data_dir, server_app="waiting_server_app")
    path = machine.project / "pyproject.toml"
    path.write_text(path.read_text().replace("journal = ", "lr = 0.1\nrounds = 3\njournal = "))
    server = ("server", str(machine.project))
    with closing(machine):

        def continues(*options: str) -> int:
            """Start the server, and kill it in its ServerApp; return its run."""
            count = len(machine.journal.calls_of(""))
            process = machine.start(*server, *options)
            eventually(lambda: len(machine.journal.calls_of("")) > count or process.poll() is not None, "the ServerApp")
            assert process.poll() is None, machine.log.read_text()
            machine.kill()
            return int(machine.journal.calls_of("")[-1]["run"])

        def refuses(text: str, *options: str) -> None:
            before = folder.names()
            assert machine.start(*server, *options).wait(PATIENCE) == 2
            assert f"run {run} was started with {text}" in machine.log.read_text()
            assert folder.names() == before

        run = continues("--run-config", "lr=0.5")
        assert continues() == run
        assert continues("--run-config", "lr=0.5") == run
        refuses("lr = 0.5, and would continue with 0.7", "--run-config", "lr=0.7")
        refuses("lr = 0.5, and would continue with 0.1", "--run-config", "rounds=3")
        path.write_text(path.read_text().replace("rounds = 3", "rounds = 4"))
        refuses("rounds = 3, and would continue with 4")
        path.write_text(path.read_text().replace("rounds = 4", "rounds = 3"))
        assert continues() == run
        fresh = continues("--fresh", "--run-config", "lr=0.7")
        assert fresh != run
        assert continues() == fresh
