"""Faults of single files: forged, replayed, cut, foreign and unreadable requests and replies, and false stops."""

import hashlib
import secrets
from collections.abc import Callable
from typing import Any

from faultkit.federation import AGGREGATOR, OUTSIDER, answer_of, reason_of
from faultkit.forge import Forge, empty_body, long_ago, unreadable_body, unsigned
from flwr.app import ConfigRecord, RecordDict
from recordkit.examining import ALL_WELL, CLIENT_GONE
from recordkit.expected import (
    ASKED,
    BEGUN,
    OWNER,
    REPLIED,
    SERVED,
    Has,
    N,
    Name,
    answered,
    closed,
    ended,
    failed,
    received,
    refused,
    released,
    released_error,
    sent,
    started,
    warned,
)
from recordkit.scene import RUN, Fault, Inject, Scene
from recordkit.status import ASKING, NO_RECORD, NORMAL, REPLYING, Shows, lost, refusing, shows
from waiting import eventually

from syft_flwr._messaging.wire.body import Body, BufferRef, Manifest, ObjectRef

INVENTED = 4711
M2 = Name("another message")


def ignored(make: Callable[[Forge], tuple[str, bytes]], *, file: bool = True) -> Inject:
    """Return the fault of a file that the data owner must ignore. The next message is answered."""

    def inject(scene: Scene) -> None:
        scene.federation.start()
        scene.storage.settle()
        scene.plant(*make(scene.forge()))
        scene.federation.assert_served()

    return inject


def in_place(forge: Forge, **changes: Any) -> tuple[str, bytes]:
    """Return a request with these changes to its header, and its name of a genuine request."""
    message_id = secrets.token_hex(16)
    return forge.federation.request_name(OWNER, message_id), forge.request(id=message_id, **changes)[1]


def stop(forge: Forge, **changes: Any) -> tuple[str, bytes]:
    records = RecordDict({"config": ConfigRecord({"action": "stop", "reason": "Server stopped"})})
    return forge.request(records, type="system", group="final", **changes)


def forged_stop(forge: Forge) -> tuple[str, bytes]:
    name, data = stop(forge)
    return name, unsigned(data)


def error_for(make: Callable[[Forge], tuple[str, bytes]]) -> Inject:
    """Return the fault of an authentic request that the data owner cannot carry out. It gets an error."""

    def inject(scene: Scene) -> None:
        scene.federation.start()
        scene.federation.assert_served()
        forge = scene.forge()
        name, data = make(forge)
        scene.storage.plant(name, data)
        assert forge.open_error(name)

    return inject


def undecryptable(forge: Forge) -> tuple[str, bytes]:
    genuine, forge.owner_keys = forge.owner_keys, forge.outsider_keys
    made = forge.request(recipient_key=genuine.public.key_id)
    forge.owner_keys = genuine
    return made


def request_of_an_ended_run(scene: Scene) -> None:
    scene.federation.start()
    scene.federation.assert_served()
    scene.federation.stop()
    scene.federation.start()
    scene.federation.assert_served()
    forge = scene.forge()
    name, data = forge.request()
    scene.storage.plant(name, data)
    assert forge.open_error(name).code == "stopped"


def torn_request(scene: Scene) -> None:
    scene.federation.start()
    scene.federation.assert_served()
    forge = scene.forge()
    name, data = forge.request()
    scene.plant(name, data[:-1])
    scene.storage.plant(name, data)
    response = name.removesuffix(".request") + ".response"
    eventually(lambda: scene.storage.read(response), "the reply")
    forge.withdraw(name)


def replayed_request(scene: Scene) -> None:
    """Bring a request back after its end. The aggregator does not see it, or it would delete the file."""
    scene.federation.start()
    message_id = scene.push()
    name = scene.federation.request_name(OWNER, message_id)
    data = scene.storage.read(name)
    scene.pull(message_id)
    eventually(lambda: not scene.storage.read(scene.federation.response_name(OWNER, message_id)), "its end")
    scene.plant(name, data)
    scene.storage.take(name)
    assert len(scene.owner.journal.calls_of(message_id)) == 1


def stop_of_another_run(scene: Scene) -> None:
    scene.federation.start()
    scene.federation.assert_served()
    name, data = stop(scene.forge(), run=INVENTED)
    scene.storage.plant(name, data)
    scene.wait_for_log(f"run {INVENTED} is over")
    scene.federation.assert_served()
    scene.storage.take(name)


# Replies


def genuine_reply(scene: Scene, message_id: str, **changes: Any) -> bytes:
    request = scene.storage.read(scene.federation.request_name(OWNER, message_id))
    fields = {"id": message_id, "answers": hashlib.sha256(request).hexdigest(), "run": RUN} | changes
    return scene.forge().response(**fields)[1]


def forged_reply(change: Callable[[bytes], bytes]) -> Inject:
    """Return the fault of a false file in the place of a reply. The true reply comes later."""

    def inject(scene: Scene) -> None:
        scene.federation.introduce()
        scene.federation.begin_run()
        message_id = scene.push()
        response = scene.federation.response_name(OWNER, message_id)
        scene.storage.plant(response, change(genuine_reply(scene, message_id)))
        scene.wait_for_log(response)
        scene.owner.start()
        assert answer_of(scene.pull(message_id))

    return inject


def unusable_reply(**changes: Any) -> Inject:
    """Return the fault of an authentic reply that cannot be used."""

    def inject(scene: Scene) -> None:
        scene.federation.introduce()
        scene.federation.begin_run()
        message_id = scene.push()
        scene.storage.plant(scene.federation.names.object(OWNER, "a" * 32), b"too short")
        scene.storage.plant(
            scene.federation.response_name(OWNER, message_id), genuine_reply(scene, message_id, **changes)
        )
        assert reason_of(scene.pull(message_id))

    return inject


_OBJECT = ObjectRef(id="a" * 32, size=9, key="b" * 64)
WRONG_OBJECT = Body(Manifest(buffers=[BufferRef(size=9, pieces=[[0, 0, 9]])], objects=[_OBJECT]), b"")
_REQUESTS = ["faults/test_hostile_requests.py"]
_REPLIES = ["faults/test_hostile_responses.py"]


def _ignored(name: str, make: Callable[[Forge], tuple[str, bytes]], reason: str, text: str, *covers: str) -> Fault:
    """Return the row of a file without a valid signature, which has no place in the record of any run."""
    told = (refused(reason, text, message=Has("/messages/")),)
    return Fault(
        name, ignored(make), ASKED, REPLIED, [*_REQUESTS, *covers], no_run=told, status=NORMAL, doctor=ALL_WELL
    )


def _error(
    name: str, make: Callable[[Forge], tuple[str, bytes]], reason: str, text: str, *, counts: bool = True
) -> Fault:
    """Return the row of a refused request. One that starts or stops a run does not count in the status."""
    told = (received(N, kind=Has("")), refused(reason, text, message=N), released_error(reason, text, N))
    data_owner = (SERVED, received(), released(), *told, closed(N), ended())
    status = (ASKING, _refuses(f"{reason}: ", text) if counts else REPLYING)
    return Fault(name, error_for(make), ASKED, data_owner, _REQUESTS, status=status, doctor=ALL_WELL)


def _refuses(*reason: str) -> Shows:
    """Return the screens of a data owner that answers the first request, and refuses the second one."""
    return refusing(*reason, replies="1 of 2", after="1 of 2", state="completed")


def _unusable(name: str, reason: str, text: str, **changes: Any) -> Fault:
    return Fault(
        name,
        unusable_reply(**changes),
        (BEGUN, sent(), warned(text, "error"), failed(reason, text), ended()),
        (),
        _REPLIES,
        ends=("failed", ""),
        status=(lost(f"{reason}: ", text), NO_RECORD),
        doctor=CLIENT_GONE,
    )


FAULTS = [
    _ignored(
        "a file of an outsider in an invented run",
        lambda forge: forge.request(
            run=INVENTED, signer=forge.outsider_keys, sender_key=forge.outsider_keys.public.key_id
        ),
        "invalid",
        "the signature does not match",
        "faults/test_outsider.py",
    ),
    _ignored(
        "a file of an outsider in its own name",
        lambda forge: forge.request(
            sender=OUTSIDER, signer=forge.outsider_keys, sender_key=forge.outsider_keys.public.key_id
        ),
        "invalid",
        f"{OUTSIDER} is not the aggregator",
        "faults/test_outsider.py",
    ),
    _ignored("an unsigned stop", forged_stop, "invalid", "the signature does not match", "faults/test_stop.py"),
    _ignored("an expired stop", lambda forge: stop(forge, **long_ago(forge.federation)), "invalid", "it expired at"),
    _ignored("a request for another data owner", lambda forge: in_place(forge, recipient=AGGREGATOR), "invalid", "its"),
    _ignored("a request in plain words", lambda forge: (in_place(forge)[0], b"please"), "invalid", "not an envelope"),
    _error("a request in plain text", lambda forge: forge.request(sealed=False), "encryption", "encryption off"),
    _error("a request for another key", undecryptable, "encryption", "the body cannot be decrypted"),
    Fault(
        "a request without a run configuration",
        error_for(lambda forge: forge.request(body=empty_body())),
        ASKED,
        (
            SERVED,
            received(),
            released(),
            warned("no run configuration in its envelope", "error"),
            received(N),
            refused("invalid", "no run configuration in its envelope", message=N),
            released_error("invalid", "no run configuration in its envelope", N),
            closed(N),
            ended(),
        ),
        ["faults/test_run_config.py"],
        status=(ASKING, _refuses("invalid: the request has no run configuration")),
        doctor=ALL_WELL,
    ),
    Fault(
        "a request without content",
        error_for(lambda forge: forge.request(body=unreadable_body())),
        ASKED,
        (
            SERVED,
            received(),
            released(),
            received(N),
            started(N),
            released_error("invalid", "not a Flower message", N),
            closed(N),
            ended(),
        ),
        _REQUESTS,
        status=(ASKING, _refuses("invalid: the content is not a Flower message")),
        doctor=ALL_WELL,
    ),
    _error(
        "a control message with an unknown action",
        lambda forge: forge.request(type="system"),
        "invalid",
        "unknown action",
        counts=False,
    ),
    Fault(
        "a request of an ended run",
        request_of_an_ended_run,
        ASKED,
        (
            *REPLIED,
            received(N),
            refused("stopped", "this run is over", message=N),
            released_error("stopped", "this run is over", N),
        ),
        [*_REQUESTS, "faults/test_stop.py"],
        status=(ASKING, shows("query runs", after=(": completed after", "| 1 of 2 | 0 |"))),
        doctor=ALL_WELL,
    ),
    Fault(
        "a request that is cut off at first",
        torn_request,
        ASKED,
        (
            SERVED,
            received(),
            released(),
            warned("cut off"),
            received(N),
            started(N),
            released(N),
            closed(N),
            ended(),
        ),
        _REQUESTS,
        status=(ASKING, shows(("the latest", "cut off"), "query runs", after=(": completed", "| 2 of 2 | 0 |"))),
        doctor=ALL_WELL,
    ),
    Fault(
        "a replayed request",
        replayed_request,
        ASKED,
        REPLIED,
        [*_REQUESTS, "faults/test_restart.py"],
        no_run=(refused("invalid", "this is a replay", aggregator=AGGREGATOR),),
        status=NORMAL,
        doctor=ALL_WELL,
    ),
    Fault(
        "a stop of another run",
        stop_of_another_run,
        (BEGUN, sent(), answered(), sent(N), answered(N), ended()),
        (SERVED, received(), released(), received(N), released(N), ended()),
        ["faults/test_stop.py"],
        no_run=(received(M2, kind="system"), released(M2), closed(M2)),
        status=(
            shows("| 1 of 1 | 0", after=(": completed", "| 2 of 2 | 0 |")),
            shows("| 1 of 1 | 0", after=(": completed", "| 2 of 2 | 0 |")),
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "a forged reply before the true one",
        forged_reply(unsigned),
        (BEGUN, sent(), warned("the signature does not match"), answered(), ended()),
        REPLIED,
        _REPLIES,
        never=(["lost"], []),
        status=(
            shows(("the latest", "the signature does not match"), after=(": completed", "| 1 of 1 | 0 |")),
            REPLYING,
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "a reply that is cut off at first",
        forged_reply(lambda data: data[:-1]),
        (BEGUN, sent(), warned("cut off"), answered(), ended()),
        REPLIED,
        _REPLIES,
        status=(shows(("the latest", "cut off"), after=(": completed", "| 1 of 1 | 0 |")), REPLYING),
        doctor=ALL_WELL,
    ),
    _unusable("an authentic reply in plain text", "encryption", f"{OWNER} has encryption off", sealed=False),
    _unusable("an authentic reply without content", "invalid", "not a Flower message", body=empty_body()),
    _unusable("an authentic reply with a cut object", "integrity", "object " + "a" * 32, body=WRONG_OBJECT),
]
