"""Requests that failed, expired or must be asked in any case: which outcomes a restarted aggregator repeats."""

import os

from faultkit.resuming import DO1, DO2, DS, LIFETIME, NAMES, OWNERS, ResumingFederation

from syft_flwr._messaging.wire.body import Failure
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.states import Future, Received

# Failures


def test_a_failure_that_was_collected_is_repeated_word_for_word(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work")
    federation.owners[DO1].fail(Reason.APP_RAISED, "it raised: no such column", "ab12")
    federation.owners[DO2].fail(Reason.WORKER_DIED, "killed")
    first = federation.collect(ids)
    expected = [
        Failure(code="app-raised", text="it raised: no such column", reference="ab12"),
        Failure(code="worker-died", text="killed"),
    ]
    assert [outcome.failure for outcome in first] == expected

    for _ in range(2):
        federation.restart()
        assert federation.ask(b"work") == ids
        assert federation.caller.collect(ids) == first
        assert federation.transport.take() == []
    assert [len(owner.ran) for owner in federation.owners.values()] == [1, 1]


def test_that_there_was_no_answer_is_repeated_if_it_was_collected(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.caller.give_up(ids, "no answer within 5 s")
    first = federation.collect(ids)

    federation.restart()
    again = federation.ask(b"work", to=[DO1])

    assert federation.caller.collect(again) == first
    assert first[0].failure == Failure(code="no-answer", text="no answer within 5 s")


def test_a_failure_that_nobody_was_told_of_is_tried_again(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.caller.give_up(ids, "no answer within 5 s")
    assert federation.rows()[ids[0]].state == Future.EXPIRED

    federation.restart()
    (message_id,) = federation.ask(b"work", to=[DO1])

    assert message_id not in ids
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id)}


def test_a_request_that_expired_meanwhile_is_asked_again(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.kill()
    federation.clock.advance(LIFETIME + 1)

    federation.start()
    (message_id,) = federation.ask(b"work", to=[DO1])

    assert message_id not in ids
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id)}
    # Its data owner may have run the first before it expired.
    federation.wait_until_left(set(), (".response",))


def test_a_request_that_expired_and_was_asked_again_is_taken_up_after_the_next_crash(
    federation: ResumingFederation,
) -> None:
    federation.ask(b"work", to=[DO1])
    federation.kill()
    federation.clock.advance(LIFETIME + 1)
    federation.start()
    (second,) = federation.ask(b"work", to=[DO1])

    federation.restart()

    assert federation.ask(b"work", to=[DO1]) == [second]
    federation.wait_until_left({NAMES.request(DO1, DS, second)}, (".request",))


def test_an_answer_that_came_in_time_is_read_after_the_time_is_over(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.kill()
    update = os.urandom(45_000)
    federation.owners[DO1].answer(update)
    federation.clock.advance(LIFETIME + 1)

    federation.start()

    assert federation.ask(b"work", to=[DO1]) == ids
    assert federation.answers(ids) == [[update]]


def test_a_request_that_waited_for_a_key_is_made_anew(federation: ResumingFederation) -> None:
    with federation.network.lock:
        card = federation.network.files.pop(f"{DO2}/public/syft_flwr.json")
    ids = federation.ask(b"work", to=[DO2])
    assert federation.rows()[ids[0]].request is None
    federation.kill()
    with federation.network.lock:
        federation.network.files[f"{DO2}/public/syft_flwr.json"] = card

    federation.start()
    (message_id,) = federation.ask(b"work", to=[DO2])
    federation.owners[DO2].answer(b"done")

    assert message_id not in ids
    assert federation.answers([message_id]) == [[b"done"]]


# What is asked in any case


def test_a_word_that_must_be_said_again_is_never_taken_from_the_record(federation: ResumingFederation) -> None:
    ids = federation.ask(b"start", type="system", once=False)
    federation.owners[DO1].answer(b"known")
    federation.collect(ids[:1])
    federation.wait_until_recorded(DO2, ids[1], Received.RECEIVED)

    federation.restart()
    # What waited for DO2 was withdrawn at once, and is said anew.
    assert federation.taken_up == 0
    assert federation.left((".request",)) == set()
    assert [row.state for row in federation.rows().values()] == [Future.COLLECTED] * 2
    federation.wait_until_recorded(DO2, ids[1], Received.CLOSED)
    again = federation.ask(b"start", type="system", once=False)

    assert not set(again) & set(ids)
    federation.owners[DO1].answer(b"known")
    federation.owners[DO2].answer(b"known")
    assert federation.answers(again) == [[b"known"], [b"known"]]


def test_what_was_asked_once_answers_no_word_that_must_be_said_again(federation: ResumingFederation) -> None:
    ids = federation.ask(b"same", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)

    federation.restart()
    (message_id,) = federation.ask(b"same", to=[DO1], once=False)

    assert message_id not in ids
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id)}


def test_a_word_that_must_be_said_again_withdraws_nothing(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work")
    federation.ask(b"start", type="system", once=False)

    federation.restart()
    federation.ask(b"start", type="system", once=False)

    assert federation.ask(b"work") == ids
    assert {NAMES.request(email, DS, i) for email, i in zip(OWNERS, ids, strict=True)} < federation.left((".request",))
