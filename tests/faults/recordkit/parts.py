"""Faults of large messages: parts that are altered, missing or late, full disks, and a sync service that gives up parts."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from faultkit.federation import AGGREGATOR, answer_of, reason_of
from faultkit.parts import assert_echo, model
from recordkit.examining import ALL_WELL
from recordkit.expected import (
    BEGUN,
    OWNER,
    SERVED,
    SOME,
    Expected,
    M,
    answered,
    closed,
    ended,
    event,
    failed,
    received,
    refused,
    released,
    released_error,
    sent,
    started,
    warned,
)
from recordkit.reading import Records
from recordkit.scene import RUN, Fault, Inject, Scene
from recordkit.status import ASKING, REPLYING, Shows, lost, refusing, shows
from waiting import PATIENCE, eventually

from syft_flwr.errors import StorageFullError

DAY = 86_400.0
Row = Sequence[Expected]
_LARGE = ["faults/test_large_messages.py"]


def begin(scene: Scene) -> None:
    """Start all participants, and wait for the start messages, which have no parts."""
    scene.federation.start()
    scene.grid._caller.wait(scene.grid._announced, timeout=PATIENCE)


def wait_for_parts(scene: Scene, owner: str) -> list[str]:
    found: list[str] = eventually(lambda: scene.storage.objects(owner), f"the parts of {owner}")
    return found


def altered_reply(scene: Scene) -> None:
    """Cut one part of a reply at the aggregator."""
    begin(scene)
    scene.storage[AGGREGATOR].withhold(".response")
    message_id = scene.push("echo", arrays=model(95_000))
    response = scene.federation.response_name(OWNER, message_id)
    eventually(lambda: scene.storage.read(response), "the reply")
    name = wait_for_parts(scene, OWNER)[0]
    scene.storage[AGGREGATOR].altered[name] = scene.storage.read(name)[:-1]
    scene.storage[AGGREGATOR].withhold()
    assert "integrity" in reason_of(scene.pull(message_id))


def altered_request(scene: Scene) -> None:
    """Turn one bit in a part of a request at the data owner."""
    begin(scene)
    scene.storage[OWNER].withhold(".blob")
    message_id = scene.push("echo", arrays=model(95_000))
    name = wait_for_parts(scene, AGGREGATOR)[0]
    data = scene.storage.read(name)
    scene.storage[OWNER].altered[name] = data[:-1] + bytes([data[-1] ^ 1])
    scene.storage[OWNER].withhold()
    assert "integrity" in reason_of(scene.pull(message_id))


def cut_request(scene: Scene) -> None:
    """Cut one part of a request at the data owner, which sees that before the app gets the request."""
    begin(scene)
    scene.storage[OWNER].withhold(".blob")
    message_id = scene.push("echo", arrays=model(95_000))
    name = wait_for_parts(scene, AGGREGATOR)[0]
    scene.storage[OWNER].altered[name] = b"x"
    scene.storage[OWNER].withhold()
    assert "integrity" in reason_of(scene.pull(message_id))


def late_reply_parts(scene: Scene) -> None:
    """Let the parts of a reply arrive one after the other, some seconds apart."""
    begin(scene)
    scene.storage[AGGREGATOR].withhold(".blob")
    message_id = scene.push("echo", arrays=model(95_000))
    response = scene.federation.response_name(OWNER, message_id)
    eventually(lambda: scene.storage.read(response), "the reply")
    (pending,) = [each for each in scene.grid._caller._pending.open() if each.id == message_id]
    eventually(lambda: pending.arrival, "the envelope")
    for name in scene.storage.objects(OWNER):
        scene.clock.advance(10)
        now = scene.clock.monotonic()
        scene.storage[AGGREGATOR].release(name)
        # Not the opened part: its event comes later, and a jump of the clock before it would suppress the next event.
        eventually(lambda now=now: pending.is_done or pending.progress_at == now, "the event about the next part")
    assert not scene.pull(message_id).has_error()
    scene.storage[AGGREGATOR].withhold()


def missing_reply_parts(scene: Scene) -> None:
    """Let one part of a reply never arrive."""
    begin(scene)
    scene.storage[AGGREGATOR].withhold(".blob")
    messages = scene.federation.messages("echo", OWNER, arrays=model(95_000))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(scene.grid.send_and_receive, messages, timeout=1_000)
        names = eventually(lambda: scene.storage.objects(OWNER)[9:] and scene.storage.objects(OWNER), "all parts")
        found = [each for each in scene.grid._caller._pending.open() if each.asked.type == "query"]
        eventually(lambda: found[0].arrival, "the envelope")
        scene.storage[AGGREGATOR].release(names[0])
        eventually(lambda: len(found[0].arrival.missing) < len(names), "one part")
        scene.examine()
        scene.clock.advance(1_000)
        (reply,) = asked.result(PATIENCE)
    assert "1 of 10" in reason_of(reply)
    scene.storage[AGGREGATOR].withhold()


def late_request_parts(scene: Scene) -> None:
    begin(scene)
    scene.storage[OWNER].withhold(".blob")
    message_id = scene.push("echo", arrays=model(95_000))
    held = scene.federation.names.heartbeat(OWNER)
    eventually(lambda: message_id.encode() in scene.storage.read(held), "the request at the data owner")
    told = Records(scene.home_of(AGGREGATOR), "aggregator")

    def is_told() -> bool:
        # A heartbeat names the parts that were missing at the look before it.
        scene.clock.advance(10)
        scene.federation.wait_for_heartbeat(OWNER)
        return any(entry.event == "request-progress" for entry in told.of(RUN))

    eventually(is_told, "the progress of the request")
    scene.storage[OWNER].withhold()
    assert not scene.pull(message_id).has_error()


def owner_disk_is_full(scene: Scene) -> None:
    """Leave no room for the parts of one reply."""
    begin(scene)
    scene.storage[OWNER].has_room = lambda _: False
    message_id = scene.push("echo", arrays=model(95_000))
    scene.owner.journal.wait_for_call(message_id)
    scene.wait_for_log("failed (reference")
    scene.storage[OWNER].has_room = lambda _: True
    assert "storage-full" in reason_of(scene.pull(message_id))


def aggregator_disk_is_full(scene: Scene) -> None:
    begin(scene)
    scene.storage[AGGREGATOR].free = 1_000
    message_id = scene.push("echo", arrays=model(95_000))
    assert reason_of(scene.pull(message_id))
    scene.storage[AGGREGATOR].free = None


def owner_has_no_room_for_the_envelope(scene: Scene) -> None:
    """Record a reply that cannot be written yet. It is written when there is room again."""
    begin(scene)
    scene.owner.spy.refuses[".response"] = StorageFullError("no room left")
    message_id = scene.push()
    scene.wait_for_log("could not be written")
    scene.owner.spy.refuses.clear()
    assert answer_of(scene.pull(message_id))


def given_up_by_the_sync_service(writer: str) -> Inject:
    """Return the fault of a sync service that gives up each part of one writer. Later attempts arrive."""

    def inject(scene: Scene) -> None:
        federation, arrays = scene.federation, model(45_000)
        federation.introduce()
        begin(scene)

        def gave_up(name: str) -> bool:
            parsed = federation.names.parse_object(writer, name)
            return parsed is not None and parsed.attempt == 0

        scene.storage.gave_up = gave_up
        messages = federation.messages("echo", OWNER, arrays=arrays)
        messages[0].metadata.ttl = 7 * DAY
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(lambda: list(scene.grid.send_and_receive(messages, timeout=7 * DAY)))
            eventually(passing(scene, asked.done), "the reply")
            assert_echo(asked.result()[0], arrays)
        scene.storage.gave_up = lambda _: False

    return inject


def passing(scene: Scene, done: Callable[[], bool]) -> Callable[[], bool]:
    """Return a condition that moves the clock a little at each look."""

    def look() -> bool:
        scene.clock.advance(0.5)
        return done()

    return look


def _parts(
    name: str,
    inject: Inject,
    asked: Row,
    replied: Row,
    *covers: str,
    status: tuple[Shows, Shows],
    state: str = "completed",
) -> Fault:
    return Fault(
        name,
        inject,
        (BEGUN, sent(), *asked, ended()),
        (SERVED, received(), *replied),
        [*_LARGE, *covers],
        over="copies",
        ends=(state, state),
        status=status,
        # The storage in memory has no disk that a check could measure.
        doctor=ALL_WELL,
    )


_REPLIED = (started(), released(), closed(), ended())
FAULTS = [
    _parts(
        "a part of the reply is cut",
        altered_reply,
        (warned("cannot be used", "error"), failed("integrity", "object")),
        _REPLIED,
        state="failed",
        status=(
            lost("integrity: object ", "bytes instead of"),
            shows("query runs", after=(": failed after", "(the run failed at its aggregator)", "| 1 of 1 | 0 |")),
        ),
    ),
    _parts(
        "a part of the request is changed",
        altered_request,
        (failed("integrity", "object"),),
        (started(), released_error("integrity", "object"), closed(), ended()),
        state="failed",
        status=(
            lost("integrity: object ", "a segment was changed"),
            refusing("integrity: object ", "a segment was changed"),
        ),
    ),
    _parts(
        "a part of the request is cut",
        cut_request,
        (failed("integrity", "object"),),
        (refused("integrity", "object", message=M), released_error("integrity", "object"), closed(), ended()),
        state="failed",
        status=(
            lost("integrity: object ", "has 1 bytes instead of"),
            refusing("integrity: object ", "has 1 bytes instead of"),
        ),
    ),
    _parts(
        "the parts of the reply come late",
        late_reply_parts,
        (
            event("reply-progress", message=M, data_owner=OWNER, arrived=1, total=10, bytes=SOME),
            event("reply-progress", message=M, data_owner=OWNER, arrived=9, total=10, total_bytes=SOME),
            answered(),
        ),
        _REPLIED,
        "faults/test_slow_links.py",
        status=(
            shows(
                # The last part is smaller, and may be the first one that arrives.
                ("1 of 10 parts of the reply arrived (", " of 95 KB)"),
                ("9 of 10 parts of the reply arrived (", " of 95 KB)"),
                after=(": completed", "| 1 of 1 | 0 |"),
            ),
            REPLYING,
        ),
    ),
    _parts(
        "a part of the reply never comes",
        missing_reply_parts,
        (event("reply-progress", message=M, arrived=1, total=10), failed("no-answer", "1 of 10")),
        _REPLIED,
        "faults/test_slow_links.py",
        state="failed",
        status=(
            shows(
                ("1 of 10 parts of the reply arrived (", " of 95 KB)"),
                after=(
                    ": failed",
                    "| 0 of 1 | 1: no-answer |",
                    "no-answer: no reply within 1000 s",
                    "1 of 10 objects of the reply have arrived",
                ),
            ),
            shows("query runs", after=(": failed after", "(the run failed at its aggregator)", "| 1 of 1 | 0 |")),
        ),
    ),
    _parts(
        "the parts of the request come late",
        late_request_parts,
        (
            event("request-held", message=M, data_owner=OWNER, stage="waiting"),
            event("request-progress", message=M, data_owner=OWNER, arrived=0, total=10, total_bytes=SOME),
            answered(),
        ),
        (
            event("request-progress", message=M, arrived=0, total=10, bytes=0, total_bytes=SOME),
            event("request-progress", message=M, arrived=10, total=10, bytes=SOME, total_bytes=SOME),
            *_REPLIED,
        ),
        "faults/test_slow_links.py",
        status=(
            shows("has the query request", after=(": completed", "| 1 of 1 | 0 |")),
            shows(
                "0 of 10 parts of the request arrived (0 B of 95 KB)",
                "query runs",
                after=(": completed", "| 1 of 1 | 0 |"),
            ),
        ),
    ),
    _parts(
        "the disk of the data owner is full",
        owner_disk_is_full,
        (failed("storage-full", "no room left"),),
        (started(), released_error("storage-full", "no room left"), closed(), ended()),
        state="failed",
        status=(lost("storage-full: no room left on a disk"), refusing("storage-full: no room left on a disk")),
    ),
    Fault(
        "the disk of the aggregator is full",
        aggregator_disk_is_full,
        (BEGUN, warned("was not sent", "error"), failed("storage-full", ""), ended()),
        (SERVED, ended()),
        _LARGE,
        over="copies",
        ends=("failed", "failed"),
        status=(
            shows(
                "| 0 of 1 | 1: storage-full |",
                after=(": failed", "| 0 of 1 | 1: storage-full |", "are needed to write this message"),
            ),
            shows(after=(": failed after", "(the run failed at its aggregator)", "| 0 of 0 | 0 |")),
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "the data owner has no room for the reply",
        owner_has_no_room_for_the_envelope,
        (BEGUN, sent(), answered(), ended()),
        (SERVED, received(), started(), warned("could not be written", "error"), released(), closed(), ended()),
        ["faults/test_restart.py"],
        status=(
            ASKING,
            shows(
                "query runs",
                ("the latest", "could not be written"),
                "idle | 1 of 1 | 0",
                after=(": completed", "| 1 of 1 | 0 |"),
            ),
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "the sync service gives up parts of the request",
        given_up_by_the_sync_service(AGGREGATOR),
        (BEGUN, sent(), warned(f"our upload to {OWNER} has made no progress"), answered(), ended()),
        (SERVED, received(), warned(f"no object of {AGGREGATOR} has arrived since"), started(), released(), ended()),
        ["faults/test_stalled_transfers.py", "faults/test_slow_uplink.py"],
        over="by hand",
        status=(
            shows(
                "0 of 5 parts of the request arrived (0 B of 45 KB)",
                ("the latest", f"our upload to {OWNER} has made no progress"),
                after=(": completed", "| 1 of 1 | 0 |"),
            ),
            shows(
                "of 5 parts of the request arrived",
                ("the latest", f"no object of {AGGREGATOR} has arrived since"),
                "query runs",
                after=(": completed", "| 1 of 1 | 0 |"),
            ),
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "the sync service gives up parts of the reply",
        given_up_by_the_sync_service(OWNER),
        (BEGUN, sent(), warned(f"no object of {OWNER} has arrived since"), answered(), ended()),
        (SERVED, received(), started(), released(), warned(f"our upload to {AGGREGATOR} has made no"), ended()),
        ["faults/test_stalled_transfers.py", "faults/test_slow_uplink.py"],
        over="by hand",
        status=(
            shows(
                "Waits for",
                ("the latest", f"no object of {OWNER} has arrived since"),
                after=(": completed", "| 1 of 1 | 0 |"),
            ),
            shows(
                "query runs",
                "idle | 1 of 1 | 0",
                ("the latest", f"our upload to {AGGREGATOR} has made no"),
                after=(": completed", "| 1 of 1 | 0 |"),
            ),
        ),
        doctor=ALL_WELL,
    ),
]
