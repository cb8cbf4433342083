"""Requests that were under way at the kill: each is waited for, or withdrawn where the run takes another way."""

import os

from faultkit.resuming import DO1, DO2, DS, LIFETIME, NAMES, PATIENCE, RUN, ResumingFederation

from syft_flwr._messaging.asking.pending import Ask
from syft_flwr._messaging.wire.body import Failure
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.states import Future

# What is on its way


def test_what_is_on_its_way_is_waited_for_and_not_sent_again(federation: ResumingFederation) -> None:
    model = os.urandom(45_000)
    ids = federation.ask(b"head", model)
    lying = federation.left()

    federation.restart()
    assert federation.taken_up == 2
    again = federation.ask(b"head", bytes(bytearray(model)))

    assert again == ids
    assert federation.left() == lying
    assert not [name for name in federation.transport.take() if name.endswith(".blob")]
    for owner in federation.owners.values():
        owner.answer(b"done")
    assert federation.answers(again) == [[b"done"], [b"done"]]
    assert [owner.ran for owner in federation.owners.values()] == [[ids[0]], [ids[1]]]


def test_a_request_whose_file_was_not_written_yet_is_written(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    name = NAMES.request(DO1, DS, ids[0])
    federation.kill()
    federation.owners[DO1].responder.stop()
    with federation.network.lock:
        content, readers = federation.network.files.pop(name)

    federation.start()
    assert federation.ask(b"work", to=[DO1]) == ids

    assert federation.network.files[name] == (content, readers)


def test_an_answer_that_came_while_nobody_listened_is_found(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work")
    federation.kill()
    update = os.urandom(45_000)
    federation.owners[DO1].answer(update)
    federation.owners[DO2].fail(Reason.APP_RAISED, "it raised")

    federation.start()
    assert federation.ask(b"work") == ids
    first, second = federation.collect(ids)

    assert first.answer == [update]
    assert second.failure == Failure(code="app-raised", text="it raised")
    assert [len(owner.ran) for owner in federation.owners.values()] == [1, 1]


def test_an_answer_that_was_read_and_given_to_nobody_is_given(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.owners[DO1].answer(os.urandom(45_000))
    federation.caller.wait(ids, timeout=PATIENCE)
    assert federation.rows()[ids[0]].state == Future.ANSWERED

    federation.restart()
    assert federation.ask(b"work", to=[DO1]) == ids

    (answer,) = federation.answers(ids)
    assert answer is not None
    assert len(answer[0]) == 45_000
    assert len(federation.owners[DO1].ran) == 1


def test_what_was_taken_up_is_kept_for_the_next_crash(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.restart()
    federation.ask(b"work", to=[DO1])
    update = os.urandom(45_000)
    federation.owners[DO1].answer(update)
    assert federation.answers(ids) == [[update]]

    federation.restart()

    assert federation.ask(b"work", to=[DO1]) == ids
    assert federation.caller.collect(ids)[0].answer == [update]
    assert federation.owners[DO1].ran == ids


# What goes another way


def test_what_is_asked_otherwise_is_asked_live_and_the_stale_request_withdrawn(federation: ResumingFederation) -> None:
    stale = federation.ask(b"work", os.urandom(45_000))

    federation.restart()
    (other,) = federation.ask(b"other work", to=[DO1])

    # Only to the addressee that is asked something else; the other may still be asked what it was.
    assert federation.left((".request",)) == {
        NAMES.request(DO1, DS, other),
        NAMES.request(DO2, DS, stale[1]),
    }
    row = federation.rows()[stale[0]]
    assert (row.state, row.code) == (Future.COLLECTED, Reason.STOPPED)
    federation.owners[DO1].responder.finish()


def test_what_was_withdrawn_is_asked_anew_if_it_is_asked_after_all(federation: ResumingFederation) -> None:
    stale = federation.ask(b"work", to=[DO1])

    federation.restart()
    other = federation.ask(b"other work", to=[DO1])
    again = federation.ask(b"work", to=[DO1])

    assert not set(again) & set(stale)
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, i) for i in (*other, *again)}


def test_a_request_is_withdrawn_only_after_all_that_is_asked_with_it_was_matched(
    federation: ResumingFederation,
) -> None:
    one, two = federation.ask(b"one", to=[DO1]) + federation.ask(b"two", to=[DO1])

    federation.restart()
    batch = [Ask(DO1, RUN, "train", "3", LIFETIME, [content]) for content in (b"new", b"two", b"one")]
    ids = federation.caller.send(batch)

    assert ids[1:] == [two, one]
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id) for message_id in ids}


def test_what_nobody_asks_again_is_withdrawn_when_the_run_ends(federation: ResumingFederation) -> None:
    federation.ask(b"work", os.urandom(45_000))

    federation.restart()
    assert len(federation.left((".request",))) == 2
    federation.close()

    assert [(row.state, row.code) for row in federation.rows().values()] == [(Future.COLLECTED, Reason.STOPPED)] * 2


def test_another_run_withdraws_what_the_killed_one_asked(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", os.urandom(45_000))

    federation.restart(run=RUN + 1)

    assert federation.taken_up == 0
    assert federation.left((".request", ".blob")) == set()
    ended = [(row.state, row.code, row.request) for row in federation.futures.of_run(RUN)]
    assert ended == [(Future.COLLECTED, Reason.STOPPED, None)] * 2
    again = federation.ask(b"work", to=[DO1])
    assert not set(again) & set(ids)


def test_what_was_withdrawn_because_it_was_not_asked_is_asked_anew_after_the_next_crash(
    federation: ResumingFederation,
) -> None:
    stale = federation.ask(b"work", to=[DO1])
    federation.restart()
    other = federation.ask(b"other work", to=[DO1])
    federation.wait_until_left({NAMES.request(DO1, DS, other[0])}, (".request",))

    federation.restart()
    (message_id,) = federation.ask(b"work", to=[DO1])

    # Nobody was ever told that it was withdrawn, so it is no outcome to be repeated.
    assert message_id not in stale
    assert federation.caller.collect([message_id]) == []
