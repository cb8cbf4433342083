"""Shows that a transport which fails, returns wrong data or stalls fails at most the message of that call."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faultkit.badlink import Act, BadStorage, Stall, cut, fail, one_more
from faultkit.federation import AGGREGATOR, NAMES, OUTSIDER, OWNERS, Federation, answer_of, reason_of
from flwr.app import Array, ArrayRecord, Message
from waiting import eventually

from syft_flwr.transport.base import Entry

OWNER, OTHER = OWNERS


@pytest.fixture
def storage() -> BadStorage:
    return BadStorage()


@pytest.fixture
def federation(tmp_path: Path, storage: BadStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", storage) as federation:
        federation.start()
        federation.assert_served()
        yield federation
        for email in (AGGREGATOR, *OWNERS):
            storage[email].heal()


def questions(federation: Federation, *emails: str) -> list[Message]:
    """Return three messages to each of these data owners, by default to all. Each message and each reply has an object."""
    made = []
    for number in range(3):
        model = ArrayRecord({"weights": Array(np.full(20_000, float(number)))})
        made += federation.messages("answer_large", *emails, model=model)
    return made


def owner_of(message: Message) -> str:
    return next(email for email in OWNERS if email in str(message.error.reason))


# A call fails


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize(
    ("side", "call"),
    [
        *[(AGGREGATOR, call) for call in ("put", "get", "open", "stat", "keep", "delete", "refused", "free_space")],
        *[(OWNER, call) for call in ("put", "get", "open", "stat", "list", "delete", "free_space")],
    ],
)
def test_one_failing_call_fails_at_most_one_message(
    federation: Federation, storage: BadStorage, side: str, call: str, first: int
) -> None:
    trouble = storage[side].trouble(call, first=first)
    replies = federation.exchange(questions(federation))
    # A data owner deletes files after the replies have arrived.
    eventually(lambda: trouble.happened, "the call that fails")
    errors = [reply for reply in replies if reply.has_error()]
    assert len(errors) <= 1
    for reply in errors:
        # The error came at once, and not at the timeout.
        # The text of the data owner's own error stays there.
        cut = "cannot be transferred at the data owner" if side == OWNER else "the link to the storage was cut"
        assert cut in reason_of(reply)
        assert side == AGGREGATOR or owner_of(reply) == OWNER
    storage[side].heal()
    for reply in federation.exchange(questions(federation)):
        assert answer_of(reply)


@pytest.mark.parametrize(
    ("side", "call", "part"),
    [
        (OWNER, "get", ".request"),
        (OWNER, "list", "/messages/"),
        (OWNER, "put", ".response"),
        (OWNER, "put", "heartbeat"),
        (AGGREGATOR, "get", ".response"),
        (AGGREGATOR, "refused", ".request"),
    ],
)
def test_messages_continue_when_the_link_recovers(
    federation: Federation, storage: BadStorage, side: str, call: str, part: str
) -> None:
    trouble = storage[side].always(call, fail, part)
    # The watch reports no change, so a scan must find the file.
    storage[side].always("wait", lambda call: call() and set())
    ids = federation.push("answer_at_the_gate")
    if call == "refused":
        # The aggregator makes this call only while it waits for a reply.
        eventually(lambda: trouble.seen > 3, "several attempts")
    for email in OWNERS:
        federation[email].journal.open_gate()
    eventually(lambda: trouble.seen > 3, "several attempts")
    storage[side].heal()
    assert all(answer_of(reply) for reply in federation.pull(ids))
    federation.assert_served()


def test_undeleted_request_is_deleted_by_the_next_run(federation: Federation, storage: BadStorage) -> None:
    storage[AGGREGATOR].trouble("delete", part=NAMES.messages(OWNER))
    ids = federation.push()
    assert all(answer_of(reply) for reply in federation.pull(ids))
    left = federation.request_name(OWNER, ids[0])
    assert storage.read(left)
    federation[OWNER].spy.wait_for_scans()
    assert len(federation[OWNER].journal.calls_of(ids[0])) == 1

    federation.stop()
    federation.start()
    assert not storage.read(left)
    eventually(lambda: not storage.read(federation.response_name(OWNER, ids[0])), "the deletion of the reply")
    federation.assert_served()


# A call returns wrong data


@pytest.mark.parametrize(("call", "act"), [("get", cut), ("stat", one_more)])
@pytest.mark.parametrize("side", [OWNER, AGGREGATOR])
def test_misread_message_delays_no_other(
    federation: Federation, storage: BadStorage, side: str, call: str, act: Act
) -> None:
    trouble = storage[side].always(call, act, f"{NAMES.messages(OWNER)}{AGGREGATOR}/")
    message_id, other = federation.push()
    assert answer_of(federation.pull([other])[0])
    if call == "get":
        eventually(lambda: trouble.seen > 3, "several attempts")
        assert federation.grid
        assert federation.grid.pull_messages([message_id]) == []
    storage[side].heal()
    assert answer_of(federation.pull([message_id])[0])
    federation.assert_served()


@pytest.mark.parametrize(("call", "act"), [("open", cut), ("stat", one_more)])
@pytest.mark.parametrize(("side", "folder"), [(AGGREGATOR, NAMES.objects(OWNER)), (OWNER, NAMES.objects(AGGREGATOR))])
def test_misread_object_fails_one_message(
    federation: Federation, storage: BadStorage, side: str, folder: str, call: str, act: Act
) -> None:
    storage[side].trouble(call, act, folder)
    replies = federation.exchange(questions(federation))
    errors = [reply for reply in replies if reply.has_error()]
    assert len(errors) == 1
    assert "integrity" in reason_of(errors[0])
    assert owner_of(errors[0]) == OWNER
    for reply in federation.exchange(questions(federation)):
        assert answer_of(reply)


def ghosts(call: Callable[[], Any]) -> Any:
    """Return the true entries of a listing, between entries without a file, of other participants and with invalid names."""
    found = call()
    message_id = secrets.token_hex(16)
    names = [
        NAMES.request(OWNER, AGGREGATOR, message_id),
        NAMES.response(OWNER, AGGREGATOR, message_id),
        NAMES.request(OWNER, OUTSIDER, message_id),
        NAMES.request(OTHER, AGGREGATOR, message_id),
        f"{NAMES.messages(OWNER)}{AGGREGATOR}/../../../../{message_id}.request",
        f"{NAMES.messages(OWNER)}{AGGREGATOR}/{'a' * 10_000}.request",
        "/etc/passwd",
        "",
    ]
    return [Entry(name, 1_000) for name in names] + list(found) + [Entry(name, -1) for name in names]


def nonsense(call: Callable[[], Any]) -> Any:
    return call() | {entry.name for entry in ghosts(list)} | {"\0", "a/b", f"{AGGREGATOR}/public/syft_flwr.json"}


def nothing(call: Callable[[], Any]) -> Any:
    return call() and set()


@pytest.mark.parametrize(
    ("call", "act"), [("list", ghosts), ("wait", nonsense), ("wait", nothing)], ids=["ghosts", "nonsense", "silence"]
)
def test_false_listings_and_events_are_harmless(
    federation: Federation, storage: BadStorage, logged: list[str], call: str, act: Act
) -> None:
    for email in (AGGREGATOR, *OWNERS):
        storage[email].always(call, act)
    for _ in range(3):
        federation.assert_served()
    for email in OWNERS:
        federation[email].spy.wait_for_scans(2)
        assert len(federation[email].journal.calls) == 4
    assert [line for line in logged if line.startswith(("ERROR", "CRITICAL"))] == []


# A call stalls


def test_slow_request_read_delays_no_other_owner(federation: Federation, storage: BadStorage) -> None:
    stall = Stall()
    storage[OWNER].trouble("get", stall, ".request")
    try:
        ids = dict(zip(OWNERS, federation.push(), strict=True))
        eventually(stall.reached.is_set, "the stalled call")
        assert answer_of(federation.pull([ids[OTHER]])[0])
        federation.assert_served(OTHER)
        assert federation.grid
        assert federation.grid.pull_messages([ids[OWNER]]) == []
    finally:
        stall.let_go.set()
    assert answer_of(federation.pull([ids[OWNER]])[0])
    federation.assert_served()


def test_slow_request_write_delays_no_other_request(federation: Federation, storage: BadStorage) -> None:
    stall = Stall()
    storage[AGGREGATOR].trouble("put", stall, NAMES.messages(OWNER))
    calls = len(federation[OTHER].journal.calls)
    try:
        with federation.asking() as asked:
            eventually(stall.reached.is_set, "the stalled call")
            eventually(lambda: len(federation[OTHER].journal.calls) > calls, "the call of the other's app")
            stall.let_go.set()
            assert all(answer_of(reply) for reply in asked.result())
    finally:
        stall.let_go.set()
    federation.assert_served()


def test_pull_loop_ends_though_a_read_stalls(federation: Federation, storage: BadStorage) -> None:
    stall = Stall()
    storage[AGGREGATOR].trouble("get", stall, NAMES.messages(OWNER))
    try:
        (message,) = federation.messages("answer", OWNER)
        message.metadata.ttl = 1.0
        (reply,) = federation.pull(federation.grid.push_messages([message]))
        assert "no reply within 1 s, the ttl of the message" in reason_of(reply)
        assert stall.reached.is_set()
    finally:
        stall.let_go.set()
    federation.assert_served()


def test_slow_reply_read_does_not_exceed_the_timeout(federation: Federation, storage: BadStorage) -> None:
    stall = Stall()
    storage[AGGREGATOR].trouble("get", stall, NAMES.messages(OWNER))
    try:
        replies = federation.ask("answer", OWNER, timeout=1.0)
        assert "no reply within 1 s" in reason_of(replies[0])
        assert stall.reached.is_set()
    finally:
        stall.let_go.set()
    federation.assert_served()


def test_hanging_look_at_own_heartbeats_stops_no_round(federation: Federation, storage: BadStorage) -> None:
    stall = Stall()
    storage[AGGREGATOR].always("list", stall, NAMES.status(AGGREGATOR))
    eventually(stall.reached.is_set, "the look")
    try:
        federation.assert_served()
    finally:
        stall.let_go.set()
