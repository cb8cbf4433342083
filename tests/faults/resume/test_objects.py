"""Shows when the objects of a resumed run are deleted, and that the end of the run deletes all envelopes."""

import os

from faultkit.resuming import DO1, DO2, DS, NAMES, OWNERS, RUN, ResumingFederation

from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.states import RunState

# Objects


def test_objects_are_deleted_after_their_last_request(
    federation: ResumingFederation,
) -> None:
    model = os.urandom(45_000)
    ids = federation.ask(b"head", model)
    objects = federation.left((".blob",))
    assert len(objects) == 5

    federation.restart()
    assert federation.left((".blob",)) == objects
    assert federation.ask(b"head", model) == ids
    federation.owners[DO1].answer(b"done")
    federation.collect(ids[:1])
    assert federation.left((".blob",)) == objects

    federation.owners[DO2].answer(b"done")
    federation.collect(ids[1:])
    assert federation.left((".blob",)) == set()


def test_new_requests_delete_objects_of_stale_ones(
    federation: ResumingFederation,
) -> None:
    federation.ask(b"head", os.urandom(45_000))

    federation.restart()
    federation.ask(b"other", b"small")

    assert federation.left((".blob",)) == set()


def test_close_deletes_objects_of_open_requests(federation: ResumingFederation) -> None:
    federation.ask(b"head", os.urandom(45_000))

    federation.restart()
    federation.caller.close()

    assert federation.left((".blob", ".request")) == set()


def test_start_deletes_unreferenced_objects(federation: ResumingFederation) -> None:
    model = os.urandom(45_000)
    answered = federation.ask(b"head", model, to=[DO1])
    federation.owners[DO1].answer(b"done")
    federation.collect(answered)
    # These objects still exist, because the next round may use them. A crash can also leave objects without a record.
    orphans = federation.left((".blob",))
    folder = ObjectFolder(federation.transport, NAMES, DS, True)
    federation.futures.runs.end(RUN + 1, RunState.COMPLETED, "", federation.clock.now())
    *_, unknown = (
        folder.write([os.urandom(25_000)], run=run, readers=OWNERS, shared=True).objects
        for run in (RUN, RUN + 1, RUN + 2)
    )
    needed = federation.ask(b"head", os.urandom(35_000), to=[DO2])
    kept = set(federation.rows()[needed[0]].objects)
    assert len(orphans) == 5

    federation.restart()

    # Without a record of its run, an object may be of another program.
    kept.update(ref.id for ref in unknown)
    assert federation.left((".blob",)) == {NAMES.object(DS, object_id) for object_id in kept}
    folder.delete([ref.id for ref in unknown])


def test_restart_keeps_objects_of_own_replies(federation: ResumingFederation) -> None:
    # A participant may be aggregator and data owner at once.
    folder = ObjectFolder(federation.transport, NAMES, DS, True)
    body = make_body([os.urandom(45_000)], folder, run=RUN, readers=[DO1])

    federation.restart()

    assert folder.missing(body.manifest.objects) == []
    folder.delete(body.manifest.object_ids)


# The end


def test_ended_run_is_not_resumed(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work")
    federation.owners[DO1].answer(b"done")
    federation.owners[DO2].fail(Reason.APP_RAISED, "it raised")
    federation.collect(ids)
    federation.close()

    federation.start()
    assert federation.taken_up == 0
    again = federation.ask(b"work")

    assert not set(again) & set(ids)
    for owner in federation.owners.values():
        owner.answer(b"anew")
    assert federation.answers(again) == [[b"anew"], [b"anew"]]


def test_ended_run_keeps_no_envelope(federation: ResumingFederation) -> None:
    ids = federation.ask(b"work")
    federation.owners[DO1].answer(b"done")
    federation.collect(ids[:1])
    assert federation.futures.response(ids[0])

    federation.close()

    assert [row.request for row in federation.rows().values()] == [None, None]
    assert [federation.futures.response(message_id) for message_id in ids] == [None, None]
