"""Shows that a restarted aggregator repeats the replies that it collected, and does not send their requests again."""

import os
from typing import Any

import pytest
from faultkit.resuming import DO1, DO2, DS, LIFETIME, OWNERS, PATIENCE, RUN, ResumingFederation

from syft_flwr._crypto.segments import seal
from syft_flwr._messaging.asking.pending import Ask
from syft_flwr._messaging.objects import make_body

# Collected replies


def test_collected_reply_is_repeated_without_a_request(federation: ResumingFederation) -> None:
    model, updates = os.urandom(45_000), {email: os.urandom(33_000) for email in OWNERS}
    ids = federation.ask(b"head", model)
    for email, owner in federation.owners.items():
        owner.answer(b"done", updates[email])
    first = federation.collect(ids)
    assert [outcome.answer for outcome in first] == [[b"done", updates[email]] for email in OWNERS]

    for _ in range(2):
        federation.restart()
        assert federation.taken_up == 2
        # The data owners have deleted their replies, so only the aggregator's record can have them.
        federation.wait_until_left(set(), (".request", ".response", ".blob"))

        again = federation.ask(b"head", bytes(bytearray(model)))

        assert again == ids
        assert federation.caller.collect(again) == first
        assert federation.transport.take() == []
    assert [owner.ran for owner in federation.owners.values()] == [[ids[0]], [ids[1]]]


def test_repeated_reply_is_counted_once(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work")
    for owner in federation.owners.values():
        owner.answer(b"done")
    federation.collect(ids)
    before = federation.rows()

    federation.restart()
    federation.collect(federation.ask(b"work"))

    assert federation.rows() == before
    ends = [entry for entry in federation.record() if entry.event == "request-ended"]
    # The replies of two data owners can end in any order.
    assert sorted(entry.fields["message"] for entry in ends) == sorted([*ids, *ids])
    assert [entry.fields.get("replayed", False) for entry in ends] == [False, False, True, True]
    assert [entry.fields["metrics"] for entry in ends] == [{"bytes": len(b"done")}] * 4
    sent = [entry.fields.get("replayed", False) for entry in federation.record() if entry.event == "request-sent"]
    assert sent == [False, False, True, True]


def test_unanswered_request_stays_open(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work")
    federation.owners[DO1].answer(b"one")
    federation.collect(ids[:1])

    federation.restart()
    again = federation.ask(b"work")

    assert again == ids
    assert federation.caller.collect(again)[0].answer == [b"one"]
    federation.owners[DO2].answer(b"two")
    assert federation.answers(ids[1:]) == [[b"two"]]
    assert [len(owner.ran) for owner in federation.owners.values()] == [1, 1]


def test_next_round_sends_a_new_request(federation: ResumingFederation) -> None:
    ids = federation.ask(b"round 1", to=[DO1])
    federation.owners[DO1].answer(b"1")
    federation.collect(ids)

    federation.restart()
    assert federation.answers(federation.ask(b"round 1", to=[DO1])) == [[b"1"]]
    second = federation.ask(b"round 2", to=[DO1])
    federation.owners[DO1].answer(b"2")

    assert federation.answers(second) == [[b"2"]]
    assert federation.owners[DO1].ran == [*ids, *second]


@pytest.mark.parametrize(
    "changes",
    [{"to": [DO2]}, {"type": "evaluate"}, {"group": "4"}, {"buffers": [b"worK"]}, {"buffers": [b"wo", b"rk"]}],
    ids=["addressee", "type", "group", "content", "boundaries"],
)
def test_other_recipient_or_content_is_a_new_request(federation: ResumingFederation, changes: dict[str, Any]) -> None:
    federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(list(federation.rows()))

    federation.restart()
    fields: dict[str, Any] = {"to": [DO1], "buffers": [b"work"], **changes}
    (message_id,) = federation.ask(*fields.pop("buffers"), **fields)

    assert federation.caller.collect([message_id]) == []
    federation.owners[fields["to"][0]].answer(b"anew")
    assert federation.answers([message_id]) == [[b"anew"]]


@pytest.mark.parametrize("changes", [{"round": "9"}, {"lifetime": 60.0}], ids=["round", "lifetime"])
def test_request_match_ignores_round_and_lifetime(federation: ResumingFederation, changes: dict[str, Any]) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)

    federation.restart()

    assert federation.ask(b"work", to=[DO1], **changes) == ids
    assert federation.caller.collect(ids)[0].answer == [b"done"]


def test_equal_requests_are_matched_in_order(federation: ResumingFederation) -> None:
    ids = []
    for number in range(2):
        # The order of requests with the same creation time is not defined, so send and answer them one by one.
        ids += federation.ask(b"work", to=[DO1])
        federation.owners[DO1].answer(b"%d" % number)
    ids += federation.ask(b"work", to=[DO1])
    federation.collect(ids[:2])

    federation.restart()
    again = federation.caller.send(
        [Ask(DO1, RUN, "train", "3", LIFETIME, [b"work"]) for _ in range(3)],
    )

    assert again == ids
    assert [outcome.answer for outcome in federation.caller.collect(again)] == [[b"0"], [b"1"]]
    federation.owners[DO1].answer(b"2")
    assert federation.answers(ids[2:]) == [[b"2"]]
    (fourth,) = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"3")
    assert federation.answers([fourth]) == [[b"3"]]
    assert federation.owners[DO1].ran == [*ids, fourth]


def test_recorded_reply_is_given_out_once(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"once")
    federation.collect(ids)

    federation.restart()
    assert federation.answers(federation.ask(b"work", to=[DO1])) == [[b"once"]]
    (second,) = federation.ask(b"work", to=[DO1])

    assert second not in ids
    assert federation.caller.collect([second]) == []
    federation.owners[DO1].answer(b"twice")
    assert federation.answers([second]) == [[b"twice"]]


def test_uncollected_repeated_reply_survives_a_restart(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)

    federation.restart()
    federation.ask(b"work", to=[DO1])
    federation.restart()

    assert federation.ask(b"work", to=[DO1]) == ids
    assert federation.caller.collect(ids)[0].answer == [b"done"]


# Replies that were not kept


def test_reply_over_the_journal_limit_is_requested_again(federation: ResumingFederation) -> None:
    federation.restart(limit=0)
    ids = federation.ask(b"work")
    for owner in federation.owners.values():
        owner.answer(b"first")
    federation.collect(ids)

    federation.restart()
    again = federation.ask(b"work")

    assert not set(again) & set(ids)
    for owner in federation.owners.values():
        owner.answer(b"second")
    assert federation.answers(again) == [[b"second"], [b"second"]]


def test_lost_reply_is_requested_again_only_once(federation: ResumingFederation) -> None:
    federation.restart(limit=0)
    lost = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"first")
    federation.collect(lost)
    federation.restart()
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"second")
    federation.collect(ids)

    federation.restart()

    assert federation.ask(b"work", to=[DO1]) == ids
    assert federation.caller.collect(ids)[0].answer == [b"second"]
    assert federation.owners[DO1].ran == [*lost, *ids]


def test_replies_within_the_limit_are_not_requested_again(federation: ResumingFederation) -> None:
    federation.restart(limit=50_000)
    updates = [os.urandom(40_000) for _ in range(3)]
    ids = []
    for number, update in enumerate(updates):
        ids += federation.ask(b"round %d" % number, to=[DO1])
        federation.owners[DO1].answer(update)
        federation.collect(ids[-1:])

    federation.restart(limit=50_000)
    assert federation.ask(b"round 0", to=[DO1]) == ids[:1]
    assert federation.caller.collect(ids[:1])[0].answer == updates[:1]
    for number in (1, 2):
        (message_id,) = federation.ask(b"round %d" % number, to=[DO1])
        federation.owners[DO1].answer(b"anew")
        assert federation.answers([message_id]) == [[b"anew"]]


@pytest.mark.parametrize("damage", ["deleted", "cut", "changed"])
def test_damaged_kept_reply_is_requested_again(federation: ResumingFederation, damage: str, logged: list[str]) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(os.urandom(45_000))
    federation.collect(ids)
    federation.kill()
    (path, *_) = sorted((federation.home / "journal").rglob("*"), reverse=True)
    content = path.read_bytes()
    path.unlink()
    if damage != "deleted":
        path.write_bytes(content[:-1] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))

    federation.start()
    (message_id,) = federation.ask(b"work", to=[DO1])

    assert message_id not in ids
    assert any(DO1 in line and "requested again" in line for line in logged)
    federation.owners[DO1].answer(b"anew")
    assert federation.answers([message_id]) == [[b"anew"]]


@pytest.mark.parametrize("when", ["before it is kept", "while it is kept", "not at all"])
def test_reply_that_its_owner_rewrites_is_requested_again(
    federation: ResumingFederation, when: str, logged: list[str]
) -> None:
    """A kept object can be a hard link. Its owner has the key, so it can write other valid bytes."""
    owner, update = federation.owners[DO1], os.urandom(45_000)
    ids = federation.ask(b"work", to=[DO1])
    body = make_body([update], owner.folder, run=RUN, readers=[DS])
    assert owner.responder.answer(owner.next(), body)
    other = {
        ref.id: b"".join(map(bytes, seal(bytes.fromhex(ref.key), [memoryview(bytes(ref.size))])))
        for ref in body.manifest.objects
    }
    federation.caller.wait(ids, timeout=PATIENCE)
    if when == "before it is kept":
        with federation.network.lock:
            for name in [name for name in federation.network.files if name.endswith(".blob")]:
                _, readers = federation.network.files[name]
                federation.network.files[name] = other[name.rpartition("/")[2].partition(".")[0]], readers
    assert federation.answers(ids) == [[update]]
    kept = [path for path in (federation.home / "journal").rglob("*") if path.is_file()]
    assert {path.name for path in kept} == set(other)
    if when == "while it is kept":
        kept[-1].write_bytes(other[kept[-1].name])

    federation.restart()
    again = federation.ask(b"work", to=[DO1])

    warned = [line for line in logged if "requested again: its objects are not the ones that arrived first" in line]
    if when == "not at all":
        assert again == ids
        assert federation.answers(again) == [[update]]
        assert not warned
        return
    assert again != ids
    assert len(warned) == 1
    assert DO1 in warned[0]
    owner.answer(b"new")
    assert federation.answers(again) == [[b"new"]]


def test_reply_that_an_older_release_kept_is_requested_again(federation: ResumingFederation) -> None:
    """It recorded no digest of the objects. A reply without objects is in the database itself."""
    large, small = federation.ask(b"large", to=[DO1]), federation.ask(b"small", to=[DO2])
    federation.owners[DO1].answer(os.urandom(45_000))
    federation.owners[DO2].answer(b"done")
    federation.collect([*large, *small])
    with federation.futures._database.transaction() as connection:
        connection.execute("UPDATE futures SET kept_digest = ''")

    federation.restart()

    assert federation.ask(b"large", to=[DO1]) != large
    assert federation.ask(b"small", to=[DO2]) == small


def test_reply_in_a_damaged_envelope_is_requested_again(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)
    response = federation.futures.response(ids[0])
    assert response is not None
    federation.kill()
    with federation.futures._database.transaction() as connection:
        damaged = response[:-1] + bytes([response[-1] ^ 1])
        connection.execute("UPDATE envelopes SET data = ? WHERE kind = 'response'", (damaged,))

    federation.start()
    (message_id,) = federation.ask(b"work", to=[DO1])

    assert message_id not in ids
    federation.owners[DO1].answer(b"anew")
    assert federation.answers([message_id]) == [[b"anew"]]
