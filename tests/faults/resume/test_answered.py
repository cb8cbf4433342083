"""An aggregator that was killed and started again: an answer that it collected is repeated, and asked for once only."""

import os
from typing import Any

import pytest
from faultkit.resuming import DO1, DO2, LIFETIME, OWNERS, RUN, ResumingFederation

from syft_flwr._messaging.asking.pending import Ask

# What was answered


def test_what_was_answered_comes_from_the_record_and_is_asked_of_nobody(federation: ResumingFederation) -> None:
    model, updates = os.urandom(45_000), {email: os.urandom(33_000) for email in OWNERS}
    ids = federation.ask(b"head", model)
    for email, owner in federation.owners.items():
        owner.answer(b"done", updates[email])
    first = federation.collect(ids)
    assert [outcome.answer for outcome in first] == [[b"done", updates[email]] for email in OWNERS]

    for _ in range(2):
        federation.restart()
        assert federation.taken_up == 2
        # The data owners have deleted what they answered, so it can come from nowhere else.
        federation.wait_until_left(set(), (".request", ".response", ".blob"))

        again = federation.ask(b"head", bytes(bytearray(model)))

        assert again == ids
        assert federation.caller.collect(again) == first
        assert federation.transport.take() == []
    assert [owner.ran for owner in federation.owners.values()] == [[ids[0]], [ids[1]]]


def test_what_comes_from_the_record_is_accounted_for_once(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work")
    for owner in federation.owners.values():
        owner.answer(b"done")
    federation.collect(ids)
    before = federation.lines(), federation.rows()

    federation.restart()
    federation.collect(federation.ask(b"work"))

    assert (federation.lines(), federation.rows()) == before
    assert len(before[0]) == 2


def test_what_one_answered_and_the_other_did_not_is_told_apart(federation: ResumingFederation) -> None:
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


def test_the_next_round_is_asked_live(federation: ResumingFederation) -> None:
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
def test_another_addressee_type_group_or_content_is_another_request(
    federation: ResumingFederation, changes: dict[str, Any]
) -> None:
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
def test_what_is_for_people_or_for_the_clock_makes_no_other_request(
    federation: ResumingFederation, changes: dict[str, Any]
) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)

    federation.restart()

    assert federation.ask(b"work", to=[DO1], **changes) == ids
    assert federation.caller.collect(ids)[0].answer == [b"done"]


def test_the_same_asked_several_times_is_matched_in_order(federation: ResumingFederation) -> None:
    ids = []
    for number in range(2):
        # Of requests that were made at the same time, any may be run first.
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


def test_an_answer_of_the_record_is_given_to_one_asking_only(federation: ResumingFederation) -> None:
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


def test_an_outcome_of_the_record_that_nobody_collects_is_no_trouble(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)

    federation.restart()
    federation.ask(b"work", to=[DO1])
    federation.restart()

    assert federation.ask(b"work", to=[DO1]) == ids
    assert federation.caller.collect(ids)[0].answer == [b"done"]


# What was not kept


def test_what_did_not_fit_into_the_journal_is_asked_again(federation: ResumingFederation) -> None:
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


def test_what_was_asked_again_because_it_was_lost_is_asked_no_third_time(federation: ResumingFederation) -> None:
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


def test_the_rounds_before_the_journal_was_full_are_not_asked_again(federation: ResumingFederation) -> None:
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
def test_an_answer_that_was_damaged_in_the_journal_is_asked_again(
    federation: ResumingFederation, damage: str, logged: list[str]
) -> None:
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
    assert any(DO1 in line and "asked again" in line for line in logged)
    federation.owners[DO1].answer(b"anew")
    assert federation.answers([message_id]) == [[b"anew"]]


def test_an_envelope_that_was_damaged_on_record_is_asked_again(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)
    response = federation.futures.response(ids[0])
    assert response is not None
    federation.kill()
    with federation.futures._database.transaction() as connection:
        damaged = response[:-1] + bytes([response[-1] ^ 1])
        connection.execute("UPDATE futures SET response = ?", (damaged,))

    federation.start()
    (message_id,) = federation.ask(b"work", to=[DO1])

    assert message_id not in ids
    federation.owners[DO1].answer(b"anew")
    assert federation.answers([message_id]) == [[b"anew"]]
