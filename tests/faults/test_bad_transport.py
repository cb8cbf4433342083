"""A transport that fails, lies or stalls: a call costs at most the message that it was made for, and the others go on."""

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
    """Return three messages to some, or all, of which each, and each answer, has an object."""
    made = []
    for number in range(3):
        model = ArrayRecord({"weights": Array(np.full(20_000, float(number)))})
        made += federation.messages("answer_large", *emails, model=model)
    return made


def owner_of(message: Message) -> str:
    return next(email for email in OWNERS if email in str(message.error.reason))


# It fails


@pytest.mark.parametrize("first", [1, 2, 3])
@pytest.mark.parametrize(
    ("side", "call"),
    [
        *[(AGGREGATOR, call) for call in ("put", "get", "open", "stat", "keep", "delete", "refused", "free_space")],
        *[(OWNER, call) for call in ("put", "get", "open", "stat", "list", "delete", "free_space")],
    ],
)
def test_a_call_that_fails_once_costs_at_most_one_message(
    federation: Federation, storage: BadStorage, side: str, call: str, first: int
) -> None:
    trouble = storage[side].trouble(call, first=first)
    replies = federation.exchange(questions(federation))
    # A data owner deletes after everybody was told.
    eventually(lambda: trouble.happened, "the call that fails")
    errors = [reply for reply in replies if reply.has_error()]
    assert len(errors) <= 1
    for reply in errors:
        # It was told at once, and not when its time was over.
        assert "the link to the storage was cut" in reason_of(reply)
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
def test_what_waits_for_a_link_that_is_down_goes_on_when_it_is_up(
    federation: Federation, storage: BadStorage, side: str, call: str, part: str
) -> None:
    trouble = storage[side].always(call, fail, part)
    # A scan has to find what a watch told of in vain.
    storage[side].always("wait", lambda call: call() and set())
    ids = federation.push("answer_at_the_gate")
    if call == "refused":
        # Asked as long as there is no answer.
        eventually(lambda: trouble.seen > 3, "several attempts")
    for email in OWNERS:
        federation[email].journal.open_gate()
    eventually(lambda: trouble.seen > 3, "several attempts")
    storage[side].heal()
    assert all(answer_of(reply) for reply in federation.pull(ids))
    federation.assert_served()


def test_a_request_that_could_not_be_deleted_is_not_asked_again_and_goes_with_the_next_run(
    federation: Federation, storage: BadStorage
) -> None:
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
    eventually(lambda: not storage.read(federation.response_name(OWNER, ids[0])), "the end of the answer")
    federation.assert_served()


# It lies


@pytest.mark.parametrize(("call", "act"), [("get", cut), ("stat", one_more)])
@pytest.mark.parametrize("side", [OWNER, AGGREGATOR])
def test_a_message_that_is_told_wrong_is_waited_for_and_holds_up_no_other(
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
def test_an_object_that_is_told_wrong_costs_the_message_that_refers_to_it(
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
    """List what is there between names of nothing, of others, and of no file that anybody may have."""
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
def test_whatever_a_folder_or_a_watch_tells_all_are_served(
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


# It stalls


def test_a_request_that_takes_long_to_read_holds_up_no_other_data_owner(
    federation: Federation, storage: BadStorage
) -> None:
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


def test_a_request_that_takes_long_to_write_is_waited_for_and_the_other_is_written(
    federation: Federation, storage: BadStorage
) -> None:
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


def test_an_answer_that_takes_long_to_read_does_not_keep_a_strategy_beyond_its_time(
    federation: Federation, storage: BadStorage
) -> None:
    stall = Stall()
    storage[AGGREGATOR].trouble("get", stall, NAMES.messages(OWNER))
    try:
        replies = federation.ask("answer", OWNER, timeout=1.0)
        assert "no answer within 1 s" in reason_of(replies[0])
        assert stall.reached.is_set()
    finally:
        stall.let_go.set()
    federation.assert_served()
