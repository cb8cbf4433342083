"""Shows the handling of forged files in place of a reply, and of replies to other requests.

Such a file never ends the wait. The aggregator logs each one once, and accepts the true reply when it comes. A data owner
restores a reply that was deleted or overwritten.
"""

import csv
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of, reason_of
from faultkit.forge import Forge, keys_of, repeated_body, signed_again, unsigned, with_other_body
from faultkit.storage import MemoryStorage
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from waiting import eventually

from syft_flwr._messaging.wire import body as bodies
from syft_flwr._messaging.wire.body import Body, BufferRef, Manifest, ObjectRef
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE, MAX_USES
from syft_flwr.runs.metric_files import metric_paths
from syft_flwr.runs.record import record_path, runs_folder
from syft_flwr.runs.record_reader import read_entries

OWNER, OTHER = OWNERS
boasting_app = ClientApp()


@boasting_app.query()
def boast(message: Message, context: Context) -> Message:
    """Reply with thousands of metrics, some of which have hostile names."""
    names = ["\u202ecod.exe", "\x1b[2J", "a\r\nb", "=cmd|' /C calc'!A0", "</script>", "x" * 10_000]
    numbers = [*names, *(f"m{number}" for number in range(10_000))]
    return Message(RecordDict({"answer": MetricRecord(dict.fromkeys(numbers, 1.5))}), reply_to=message)


@dataclass
class Asked:
    """An open request to a data owner. The client of the data owner is not running."""

    federation: Federation
    forge: Forge
    id: str
    #: The true reply to the request before it.
    earlier: bytes

    @property
    def request(self) -> str:
        return self.federation.request_name(OWNER, self.id)

    @property
    def response(self) -> str:
        return self.federation.response_name(OWNER, self.id)

    def answer(self, **changes: object) -> bytes:
        """Return a response to the request, genuine except for ``changes``."""
        digest = hashlib.sha256(self.federation.storage.read(self.request)).hexdigest()
        fields = {"id": self.id, "answers": digest, "run": self.federation.grid.run.run_id} | changes
        return self.forge.response(**fields)[1]


@pytest.fixture
def asked(tmp_path: Path, memory: MemoryStorage) -> Iterator[Asked]:
    with Federation(tmp_path / "homes", memory) as federation:
        federation.start()
        (earlier,) = federation.push("answer", OWNER)
        answered = eventually(lambda: memory.read(federation.response_name(OWNER, earlier)), "the earlier reply")
        federation.pull([earlier])
        federation.stop()
        federation[OTHER].start()
        run = federation.begin_run()
        (message_id,) = federation.push("answer", OWNER)
        yield Asked(federation, Forge(federation, OWNER, run), message_id, answered)


def test_hostile_metrics_fill_neither_record_nor_table(
    tmp_path: Path, memory: MemoryStorage, logged: list[str]
) -> None:
    with Federation(tmp_path / "homes", memory, [OWNER], client_app=boasting_app) as federation:
        federation.start()
        (reply,) = federation.ask("anything")
        # The strategy gets them all.
        assert len(reply.content["answer"]) == 10_006
        run = federation.grid.run.run_id
        federation.stop()
        homes = {role: federation.root / email for role, email in (("datasite", OWNER), ("aggregator", AGGREGATOR))}
        for role, home in homes.items():
            runs = runs_folder(home / "apps" / federation.app)
            found = [
                each.fields["metrics"]
                for each in read_entries(record_path(runs, run, role))
                if each.fields.get("metrics")
            ]
            shown = [r"\u202ecod.exe", r"\x1b[2J", "a  b", "=cmd|' /C calc'!A0", "</script>"]
            assert [list(each) for each in found] == [[*shown, *(f"m{number}" for number in range(95))]]
        lines, table = metric_paths(runs, run)
        rows = list(csv.reader(table.read_text().splitlines()))
        assert [row[-2] for row in rows[1:6]] == [*shown[:3], "'=cmd|' /C calc'!A0", "</script>"]
        assert len(rows) == 1 + len(lines.read_text().splitlines()) == 101
    assert not [line for line in logged if line.startswith("ERROR") or "cannot" in line]


FORGERIES: dict[str, tuple[Callable[[Asked], bytes], str]] = {
    "unsigned": (lambda asked: unsigned(asked.answer()), "the signature does not match"),
    "signed by an outsider": (
        lambda asked: signed_again(asked.answer(), asked.forge.outsider_keys),
        "the signature does not match",
    ),
    "signed by the other data owner": (
        lambda asked: signed_again(asked.answer(), keys_of(asked.federation[OTHER].participant)),
        "the signature does not match",
    ),
    "an error that an outsider made up": (
        lambda asked: asked.answer(signer=asked.forge.outsider_keys, body=bodies.failure("app-raised", "give up")),
        "the signature does not match",
    ),
    "with another body": (lambda asked: with_other_body(asked.answer()), "the signature does not match"),
    "of the other data owner in its own name": (
        lambda asked: asked.answer(sender=OTHER, signer=keys_of(asked.federation[OTHER].participant)),
        "its sender is not",
    ),
    "of another run": (lambda asked: asked.answer(run=5), "its run is not"),
    "to another request": (lambda asked: asked.answer(answers="0" * 64), "its answers is not"),
    "the reply to an earlier request": (lambda asked: asked.earlier, "its id is not"),
    "of another round": (lambda asked: asked.answer(group="7"), "its group is not"),
    "of another type": (lambda asked: asked.answer(type="train"), "its type is not"),
    "the request itself": (
        lambda asked: asked.federation.storage.read(asked.request),
        "its kind is not",
    ),
    "plaintext": (lambda _: b"all is well", "not an envelope"),
    "the JSON of another implementation": (lambda _: b'{"status_code": 200}', "JSON message"),
    "oversized": (lambda _: bytes(MAX_ENVELOPE + 1), f"at most {MAX_ENVELOPE} are accepted"),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_forged_reply_is_logged_and_the_true_one_counts(asked: Asked, logged: list[str], kind: str) -> None:
    make, reason = FORGERIES[kind]
    federation = asked.federation
    federation.storage.plant(asked.response, make(asked))
    line = eventually(lambda: [line for line in logged if asked.response in line], "a line about the forged reply")[0]
    assert line.startswith("WARNING")
    assert reason in line
    assert not federation.grid.pull_messages([asked.id])
    federation[OWNER].start()
    (reply,) = federation.pull([asked.id])
    assert answer_of(reply)["messages"] == 1
    assert len([line for line in logged if asked.response in line]) == 1
    federation.assert_served(OWNER)


def test_torn_reply_is_read_when_complete(asked: Asked, logged: list[str]) -> None:
    federation = asked.federation
    data = asked.answer()
    for end in (1, 20, len(data) - 1):
        federation.storage.plant(asked.response, data[:end])
        reads = federation.spy.reads[asked.response]
        eventually(lambda reads=reads: federation.spy.reads[asked.response] > reads + 1, "two reads of the torn reply")
        assert not federation.grid.pull_messages([asked.id])
    assert any("cut off" in line for line in logged if asked.response in line)
    assert federation.storage.read(asked.request)
    assert federation.storage.read(asked.response)
    federation.storage.plant(asked.response, data)
    (reply,) = federation.pull([asked.id])
    assert reply.content["ask"]["behaviour"] == "forged"
    federation[OWNER].start()


UNUSABLE: dict[str, tuple[dict[str, object], str]] = {
    "in plain text": ({"sealed": False}, f"encryption: {OWNER} has encryption off, and it is on here"),
    "a body of nothing": ({"body": Body(Manifest(), b"")}, "invalid: the content is not a Flower message"),
    "a body that does not add up": (
        {"body": Body(Manifest(buffers=[BufferRef(size=5)]), b"1234")},
        "invalid: the number of inline bytes is not the announced number",
    ),
    "the same bytes five times": ({"body": repeated_body(MAX_USES + 1)}, "invalid: more than 4 buffers name the same"),
    "very many small parts": (
        {"body": Body(Manifest(buffers=[BufferRef(size=500_000)]), b"\x78\x00" * 250_000)},
        "invalid: the content has too many small parts",
    ),
    "an object of another size": (
        {
            "body": Body(
                Manifest(
                    buffers=[BufferRef(size=9, pieces=[[0, 0, 9]])],
                    objects=[ObjectRef(id="a" * 32, size=9, key="b" * 64)],
                ),
                b"",
            )
        },
        "integrity: object " + "a" * 32,
    ),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_unusable_authentic_reply_gives_one_error(asked: Asked, kind: str) -> None:
    changes, reason = UNUSABLE[kind]
    federation = asked.federation
    federation.storage.plant(federation.names.object(OWNER, "a" * 32), b"too short")
    federation.storage.plant(asked.response, asked.answer(**changes))
    (reply,) = federation.pull([asked.id])
    assert reason_of(reply).startswith(f"{OWNER}: {reason}")
    federation[OWNER].start()
    federation.assert_served(OWNER)


@pytest.mark.parametrize("deed", ["deleted", "overwritten"])
def test_deleted_or_overwritten_reply_is_restored(asked: Asked, memory: MemoryStorage, deed: str) -> None:
    """The data owner restores the reply without another call of the app."""
    federation = asked.federation
    federation.spy.hidden = (".response",)
    federation[OWNER].start()
    true_answer = eventually(lambda: memory.read(asked.response), "the true reply")
    if deed == "deleted":
        memory.take(asked.response)
    else:
        memory.plant(asked.response, true_answer[:-1] + b"?")
    eventually(lambda: memory.read(asked.response) == true_answer, "the true reply again")
    federation.spy.hidden = ()
    (reply,) = federation.pull([asked.id])
    assert answer_of(reply)
    assert len(federation[OWNER].journal.calls_of(asked.id)) == 1
