"""Shows which outcomes a restarted aggregator repeats: of requests that failed, that expired, or with ``once=False``."""

import os

from faultkit.resuming import DO1, DO2, DS, LIFETIME, NAMES, OWNERS, ResumingFederation

from syft_flwr._messaging.wire.body import Failure
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.states import Future, Received

# Failures


def test_collected_failure_is_repeated_unchanged(federation: ResumingFederation) -> None:
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


def test_collected_no_answer_is_repeated(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.caller.give_up(ids, "no reply within 5 s")
    first = federation.collect(ids)

    federation.restart()
    again = federation.ask(b"work", to=[DO1])

    assert federation.caller.collect(again) == first
    assert first[0].failure == Failure(code="no-answer", text="no reply within 5 s")


def test_uncollected_failure_is_retried(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.caller.give_up(ids, "no reply within 5 s")
    assert federation.rows()[ids[0]].state == Future.EXPIRED

    federation.restart()
    (message_id,) = federation.ask(b"work", to=[DO1])

    assert message_id not in ids
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id)}


def test_request_expired_while_down_is_sent_again(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.kill()
    federation.clock.advance(LIFETIME + 1)

    federation.start()
    (message_id,) = federation.ask(b"work", to=[DO1])

    assert message_id not in ids
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id)}
    # The data owner may have run the first request before it expired.
    federation.wait_until_left(set(), (".response",))


def test_second_crash_resumes_the_repeated_request(
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


def test_timely_reply_is_read_after_the_expiry(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work", to=[DO1])
    federation.kill()
    update = os.urandom(45_000)
    federation.owners[DO1].answer(update)
    federation.clock.advance(LIFETIME + 1)

    federation.start()

    assert federation.ask(b"work", to=[DO1]) == ids
    assert federation.answers(ids) == [[update]]


def test_request_that_waited_for_a_key_is_replaced(federation: ResumingFederation) -> None:
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


# Requests that each process sends


def test_restart_always_sends_a_new_start_message(federation: ResumingFederation) -> None:
    ids = federation.ask(b"start", type="system", once=False)
    federation.owners[DO1].answer(b"known")
    federation.collect(ids[:1])
    federation.wait_until_recorded(DO2, ids[1], Received.RECEIVED)

    federation.restart()
    # The request that DO2 has not answered is withdrawn at once, and sent again.
    assert federation.taken_up == 0
    assert federation.left((".request",)) == set()
    assert [row.state for row in federation.rows().values()] == [Future.COLLECTED] * 2
    federation.wait_until_recorded(DO2, ids[1], Received.CLOSED)
    again = federation.ask(b"start", type="system", once=False)

    assert not set(again) & set(ids)
    federation.owners[DO1].answer(b"known")
    federation.owners[DO2].answer(b"known")
    assert federation.answers(again) == [[b"known"], [b"known"]]


def test_request_with_once_false_is_always_sent(federation: ResumingFederation) -> None:
    ids = federation.ask(b"same", to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(ids)

    federation.restart()
    (message_id,) = federation.ask(b"same", to=[DO1], once=False)

    assert message_id not in ids
    assert federation.left((".request",)) == {NAMES.request(DO1, DS, message_id)}


def test_start_message_withdraws_no_open_request(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work")
    federation.ask(b"start", type="system", once=False)

    federation.restart()
    federation.ask(b"start", type="system", once=False)

    assert federation.ask(b"work") == ids
    assert {NAMES.request(email, DS, i) for email, i in zip(OWNERS, ids, strict=True)} < federation.left((".request",))
