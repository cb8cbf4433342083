"""Shows that open requests survive a kill: the next process waits for them, or withdraws them."""

import os
import sqlite3
from contextlib import closing

from faultkit.resuming import DO1, DO2, DS, LIFETIME, NAMES, PATIENCE, RUN, ResumingFederation

from syft_flwr._messaging.asking.pending import Ask
from syft_flwr._messaging.wire.body import Failure
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.states import Future

# The process sends the same requests


def test_open_request_is_not_sent_again(federation: ResumingFederation) -> None:
    model = os.urandom(45_000)
    ids = federation.ask(b"head", model)
    before = federation.left()

    federation.restart()
    assert federation.taken_up == 2
    again = federation.ask(b"head", bytes(bytearray(model)))

    assert again == ids
    assert federation.left() == before
    assert not [name for name in federation.transport.take() if name.endswith(".blob")]
    for owner in federation.owners.values():
        owner.answer(b"done")
    assert federation.answers(again) == [[b"done"], [b"done"]]
    assert [owner.ran for owner in federation.owners.values()] == [[ids[0]], [ids[1]]]


def test_missing_request_file_is_written(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    name = NAMES.request(DO1, DS, ids[0])
    federation.kill()
    federation.owners[DO1].responder.stop()
    with federation.network.lock:
        content, readers = federation.network.files.pop(name)

    federation.start()
    assert federation.ask(b"work", to=[DO1]) == ids

    assert federation.network.files[name] == (content, readers)


def test_request_of_an_older_version_is_sent_again(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work")
    federation.kill()
    # The byte after the mark is the version.
    version_1 = "UPDATE envelopes SET data = CAST(substr(data, 1, 8) || x'01' || substr(data, 10) AS BLOB)"
    with closing(sqlite3.connect(federation.home / "futures.db")) as futures, futures:
        futures.execute(version_1)

    federation.start()
    again = federation.ask(b"work")

    assert not set(again) & set(ids)
    for owner in federation.owners.values():
        owner.answer(b"done")
    assert federation.answers(again) == [[b"done"], [b"done"]]
    assert [federation.rows()[old].code for old in ids] == [Reason.STOPPED] * 2


def test_reply_that_came_while_down_is_found(federation: ResumingFederation) -> None:
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


def test_uncollected_reply_is_delivered_after_restart(federation: ResumingFederation) -> None:
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


def test_resumed_reply_is_kept_for_the_next_crash(federation: ResumingFederation) -> None:
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


# The process sends other requests


def test_different_request_withdraws_the_stale_one(federation: ResumingFederation) -> None:
    stale = federation.ask(b"work", os.urandom(45_000))

    federation.restart()
    (other,) = federation.ask(b"other work", to=[DO1])

    # Only DO1 got a different request. The process may still send the old request to DO2 again.
    assert federation.left((".request",)) == {
        NAMES.request(DO1, DS, other),
        NAMES.request(DO2, DS, stale[1]),
    }
    row = federation.rows()[stale[0]]
    assert (row.state, row.code) == (Future.COLLECTED, Reason.STOPPED)
    federation.owners[DO1].responder.finish()


def test_repeat_of_a_withdrawn_request_has_a_new_id(federation: ResumingFederation) -> None:
    stale = federation.ask(b"work", to=[DO1])

    federation.restart()
    other = federation.ask(b"other work", to=[DO1])
    again = federation.ask(b"work", to=[DO1])

    assert not set(again) & set(stale)
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, i) for i in (*other, *again)}


def test_whole_batch_is_matched_before_withdrawal(
    federation: ResumingFederation,
) -> None:
    one, two = federation.ask(b"one", to=[DO1]) + federation.ask(b"two", to=[DO1])

    federation.restart()
    batch = [Ask(DO1, RUN, "train", "3", LIFETIME, [content]) for content in (b"new", b"two", b"one")]
    ids = federation.caller.send(batch)

    assert ids[1:] == [two, one]
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id) for message_id in ids}


def test_end_of_run_withdraws_open_requests(federation: ResumingFederation) -> None:
    federation.ask(b"work", os.urandom(45_000))

    federation.restart()
    assert len(federation.left((".request",))) == 2
    federation.close()

    assert [(row.state, row.code) for row in federation.rows().values()] == [(Future.COLLECTED, Reason.STOPPED)] * 2


def test_new_run_withdraws_requests_of_the_old_run(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", os.urandom(45_000))

    federation.restart(run=RUN + 1)

    assert federation.taken_up == 0
    assert federation.left((".request", ".blob")) == set()
    ended = [(row.state, row.code, row.request) for row in federation.futures.of_run(RUN)]
    assert ended == [(Future.COLLECTED, Reason.STOPPED, None)] * 2
    again = federation.ask(b"work", to=[DO1])
    assert not set(again) & set(ids)


def test_withdrawn_request_is_not_resumed(
    federation: ResumingFederation,
) -> None:
    stale = federation.ask(b"work", to=[DO1])
    federation.restart()
    other = federation.ask(b"other work", to=[DO1])
    federation.wait_until_left({NAMES.request(DO1, DS, other[0])}, (".request",))

    federation.restart()
    (message_id,) = federation.ask(b"work", to=[DO1])

    # The withdrawal was never reported to the app, so it is not an outcome to repeat.
    assert message_id not in stale
    assert federation.caller.collect([message_id]) == []
