"""Shows the end of requests that do not arrive, disappear or get no reply, and of participants that start late or twice.

Each request ends with a reply or with one error that names the data owner. It does not delay the other data owners.
"""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, NAMES, OWNERS, Federation, answer_of, reason_of
from faultkit.storage import FolderStorage, Storage, carries_message
from flwr.app import Array, ArrayRecord
from flwr.common.constant import ErrorCode
from waiting import PATIENCE, eventually

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr.errors import StorageFullError, StoreError
from syft_flwr.fl_orchestrator import SyftGrid

OWNER, OTHER = OWNERS


@pytest.fixture
def federation(tmp_path: Path, storage: Storage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", storage, clock=StillClock()) as federation:
        yield federation


@pytest.fixture
def in_folders(tmp_path: Path, folder: FolderStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", folder) as federation:
        yield federation


def test_absent_data_owner_gives_one_error(federation: Federation, storage: Storage) -> None:
    federation.introduce()
    federation[OTHER].start()
    federation.begin_run()
    absent, present = federation.push()
    (reply,) = federation.pull([present])
    assert answer_of(reply)
    assert not federation.grid.pull_messages([absent])
    with federation.asking("answer", OWNER, timeout=60) as replies:
        name = f"{NAMES.messages(OWNER)}{AGGREGATOR}/"
        eventually(lambda: len([found for found in storage.names() if found.startswith(name)]) == 3, "the request")
        federation.clock.advance(60)
        (late,) = replies.result(PATIENCE)
    assert reason_of(late) == f"{OWNER}: no-answer: no reply within 60 s, the timeout of the call"
    assert late.error.code == ErrorCode.REPLY_MESSAGE_UNAVAILABLE
    assert not federation.grid.pull_messages([absent])
    storage.settle()
    federation[OWNER].start()
    federation.assert_served()


def test_requests_run_in_order_of_creation(tmp_path: Path, storage: Storage) -> None:
    with Federation(tmp_path / "homes", storage, [OWNER], clock=StillClock()) as federation:
        federation.introduce()
        federation.begin_run()
        ids = []
        for _ in range(8):
            ids += federation.push()
            federation.clock.advance(1)
        storage.settle()
        # A folder lists its files in an arbitrary order.
        federation[OWNER].start()
        assert [answer_of(reply)["messages"] for reply in federation.pull(ids)] == [1, 2, 3, 4, 5, 6, 7, 8]
        assert [call["message"] for call in federation[OWNER].journal.calls] == ids


@pytest.mark.parametrize("timeout", [None, 3600.0])
def test_msg_timeout_acts_under_every_strategy(tmp_path: Path, storage: Storage, timeout: float | None) -> None:
    """Strategies of the message API pass a timeout of one hour, which the user did not choose."""
    options = {AGGREGATOR: {"msg_timeout": 30.0}}
    with Federation(tmp_path / "homes", storage, [OWNER], clock=StillClock(), options=options) as federation:
        federation.introduce()
        federation.begin_run()
        with federation.asking("answer", timeout=timeout) as replies:
            eventually(lambda: list(filter(carries_message, storage.names()))[1:], "the request")
            federation.let_pass(29, step=7)
            assert not replies.done()
            federation.let_pass(1)
            (reply,) = replies.result(PATIENCE)
        assert reason_of(reply).startswith(f"{OWNER}: no-answer: ")
        assert "30 s" in reason_of(reply)


def test_long_training_has_no_hidden_limit(federation: Federation) -> None:
    """Earlier implementations had limits of 15 minutes for a reply and 5 minutes for a job."""
    federation.start()
    ids = federation.push("answer_at_the_gate")
    for email, message_id in zip(OWNERS, ids, strict=True):
        federation[email].journal.wait_for_call(message_id)
    for _ in range(10):
        federation.clock.advance(3600)
        for email in OWNERS:
            federation.wait_for_heartbeat(email)
    assert not federation.grid.pull_messages(ids)
    for email in OWNERS:
        federation[email].journal.open_gate()
    for reply in federation.pull(ids):
        assert answer_of(reply)["messages"] == 1


def test_without_timeout_only_silent_owner_is_given_up(federation: Federation, storage: Storage) -> None:
    federation.introduce()
    federation[OWNER].start()
    federation.begin_run()
    with federation.asking("answer_at_the_gate", timeout=None) as replies:
        eventually(lambda: federation[OWNER].journal.calls, "the call of the first data owner's app")
        for _ in range(5):
            # A quarter of the limit counts: the process did not look during the rest.
            federation.clock.advance(100)
            federation.wait_for_heartbeat(OWNER)
        assert not replies.done()
        federation[OWNER].journal.open_gate()
        answered, silent = replies.result(PATIENCE)
    assert answer_of(answered)
    assert reason_of(silent).startswith(f"{OTHER}: no-answer: no reply, and no heartbeat for 120 s")
    storage.settle()
    federation[OTHER].start()
    federation.assert_served()


@pytest.mark.parametrize("kind", ["rubbish", "of an outsider", "huge"])
def test_forged_heartbeat_does_not_extend_the_wait(federation: Federation, storage: Storage, kind: str) -> None:
    federation.introduce()
    federation.begin_run()
    (message_id,) = federation.push("answer", OWNER)
    now = federation.clock.now()
    forged = {
        "rubbish": b"alive!",
        "of an outsider": Heartbeat("data-owner", OWNER, federation.app, 1, 1, now, message_id).encode(
            Identity.generate()
        ),
        "huge": bytes(10_000_000),
    }
    storage.plant(NAMES.heartbeat(OWNER), forged[kind])
    storage.settle()
    with federation.asking("answer", OWNER, timeout=None) as replies:
        for _ in range(3):
            looks = federation.spy.reads[NAMES.heartbeat(OWNER)]
            eventually(
                lambda looks=looks: federation.spy.reads[NAMES.heartbeat(OWNER)] > looks + 1, "reads of the heartbeat"
            )
            federation.let_pass(40, step=20)
        (reply,) = replies.result(PATIENCE)
    assert "no heartbeat for 120 s" in reason_of(reply)


def test_request_refused_by_sync_is_an_error_at_once(federation: Federation, storage: Storage) -> None:
    """The other data owner still answers."""
    federation.introduce()
    federation[OTHER].start()
    federation.begin_run()
    refused, accepted = federation.push()
    storage.refuse(federation.request_name(OWNER, refused))
    failed, answered = federation.pull([refused, accepted])
    assert reason_of(failed) == (
        f"{OWNER}: sync-refused: the sync service refused the request: no permission to write to {OWNER}"
    )
    assert answer_of(answered)
    federation[OWNER].start()
    federation.assert_served()


def test_request_deleted_during_training_has_no_effect(federation: Federation, storage: Storage) -> None:
    federation.start()
    (message_id,) = federation.push("answer_at_the_gate", OWNER)
    journal = federation[OWNER].journal
    journal.wait_for_call(message_id)
    federation.withdraw(message_id)
    federation[OWNER].spy.wait_for_scans()
    journal.open_gate()
    answer, _ = federation.assert_served()
    # The state of the app was discarded with the reply.
    assert answer["messages"] == 1
    assert not storage.read(federation.response_name(OWNER, message_id))
    assert len(journal.calls_of(message_id)) == 1


def test_vanished_request_counts_as_withdrawn(federation: Federation, storage: Storage) -> None:
    if not storage.absence_withdraws:
        pytest.skip("this storage can lose a request that its sender did not withdraw")
    federation.start()
    (message_id,) = federation.push("answer_at_the_gate", OWNER)
    journal = federation[OWNER].journal
    journal.wait_for_call(message_id)
    storage.take(federation.request_name(OWNER, message_id))
    federation[OWNER].spy.wait_for_scans()
    journal.open_gate()
    answer, _ = federation.assert_served()
    assert answer["messages"] == 1
    assert not storage.read(federation.response_name(OWNER, message_id))


@pytest.mark.parametrize("what", [".request", ".blob"])
def test_write_error_fails_only_its_messages(federation: Federation, what: str) -> None:
    federation.start()
    # The arrays of a round are one file for all data owners. Without room for it, no message is sent.
    failing = OWNERS if what == ".blob" else (OWNER,)
    federation.spy.refuses = {f"{AGGREGATOR}/app_data": StorageFullError("no room left")}
    if what == ".request":
        federation.spy.refuses = {f"{OWNER}/app_data": StorageFullError("no room left")}
    model = ArrayRecord({"weights": Array(np.zeros(20_000))})
    replies = federation.exchange(federation.messages("answer", model=model), timeout=10)
    for email, reply in zip(OWNERS, replies, strict=True):
        if email in failing:
            assert reason_of(reply).startswith(f"{email}: ")
            assert reason_of(reply).endswith(": no room left")
        else:
            assert answer_of(reply)
        assert bool(federation[email].journal.calls) == (email not in failing)
    federation.spy.refuses = {}
    federation.assert_served()


def test_link_as_message_folder_is_not_followed(in_folders: Federation, folder: FolderStorage, tmp_path: Path) -> None:
    in_folders.introduce()
    in_folders[OTHER].start()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    messages = folder.path(NAMES.messages(OWNER))
    messages.mkdir(parents=True)
    (messages / AGGREGATOR).symlink_to(elsewhere)
    in_folders.begin_run()
    failed, answered = in_folders.ask()
    assert reason_of(failed).startswith(f"{OWNER}: not-sent: ")
    assert AGGREGATOR in reason_of(failed)
    assert answer_of(answered)
    assert not list(elsewhere.iterdir())
    (messages / AGGREGATOR).unlink()
    in_folders[OWNER].start()
    in_folders.assert_served()


def test_second_server_is_refused_and_first_continues(federation: Federation) -> None:
    federation.start()
    with pytest.raises(StoreError, match=f"a server of faults for {AGGREGATOR} .* in process {os.getpid()}") as refusal:
        SyftGrid(federation.app, OWNERS, client=federation.participant)
    assert f"Stop process {os.getpid()} first" in refusal.value.hint
    federation.assert_served()
    federation.stop()
    federation.start()
    federation.assert_served()


def test_second_client_is_refused_and_first_continues(federation: Federation, tmp_path: Path, storage: Storage) -> None:
    federation.start()
    with Federation(tmp_path / "homes", storage, [OWNER]) as twin:
        twin[OWNER].start()
        with pytest.raises(StoreError, match=f"a client of faults for {OWNER} .* in process {os.getpid()}") as refusal:
            twin[OWNER].join()
    assert f"Stop process {os.getpid()} first" in refusal.value.hint
    federation.assert_served()
    assert len(federation[OWNER].journal.calls) == 1


def test_failed_start_releases_its_lock(federation: Federation) -> None:
    """In a notebook the process continues, and the user tries again in it."""
    ledger = federation.root / OWNER / "apps" / federation.app / "ledger.db"
    futures = federation.root / AGGREGATOR / "apps" / federation.app / "futures.db"
    for path in (ledger, futures):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"this is no database" * 100)
    federation[OWNER].start()
    with pytest.raises(StoreError, match=r"ledger\.db cannot be used"):
        federation[OWNER].join()
    with pytest.raises(StoreError, match=r"futures\.db cannot be used"):
        federation.begin_run()
    ledger.unlink()
    futures.unlink()
    federation.start()
    federation.assert_served()


def test_two_apps_run_side_by_side(tmp_path: Path, storage: Storage) -> None:
    with (
        Federation(tmp_path / "homes", storage) as first,
        Federation(tmp_path / "homes", storage, app="second") as second,
    ):
        first.start()
        second.start()
        (waiting,) = first.push("answer_at_the_gate", OWNER)
        first[OWNER].journal.wait_for_call(waiting)
        for answer in second.assert_served():
            assert answer["messages"] == 1
        first[OWNER].journal.open_gate()
        assert answer_of(first.pull([waiting])[0])


@pytest.mark.parametrize(
    "emails",
    [
        ("jane_doe@hospital.example", "o'neil@hospital.example"),
        ("data@hospital-a.example", "data@hospital-b.example"),
        ("david134@openmined.org", "david1577@gmail.com"),
        ("Data.Owner+Trial@Hospital.Example", "do@xn--hpital-b1a.example"),
    ],
)
def test_similar_emails_are_separate_datasites(tmp_path: Path, folder: FolderStorage, emails: tuple[str, str]) -> None:
    if emails[0].startswith("david"):
        assert len({zlib.crc32(email.encode()) for email in emails}) == 1
    with Federation(tmp_path / "homes", folder, [email.lower() for email in emails]) as federation:
        federation.start()
        assert len(set(federation.grid.get_node_ids())) == 2
        federation.assert_served()
        assert [len(owner.journal.calls) for owner in federation.owners.values()] == [1, 1]


def test_aggregator_may_also_be_a_datasite(tmp_path: Path, storage: Storage) -> None:
    """Both roles use the same datasite folder. Neither role deletes or reads the files of the other as its own."""
    with Federation(tmp_path / "homes", storage, [AGGREGATOR, OWNER]) as federation:
        federation.introduce()
        federation[OWNER].start()
        federation.begin_run()
        model = ArrayRecord({"weights": Array(np.zeros(20_000))})
        ids = federation.grid.push_messages(federation.messages("answer_large", model=model))
        federation[AGGREGATOR].start()
        for reply in federation.pull(ids):
            assert answer_of(reply)
        federation.assert_served()
