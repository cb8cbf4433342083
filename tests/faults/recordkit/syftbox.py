"""Faults of SyftBox: clients and servers that stop, broken connections, subscriptions and permissions."""

from collections.abc import Callable
from typing import Any

from faultkit.federation import AGGREGATOR, answer_of, reason_of
from recordkit.examining import ALL_WELL, PROBE, WELL, Found
from recordkit.expected import (
    ASKED,
    BEGUN,
    OWNER,
    REPLIED,
    SERVED,
    N,
    answered,
    ended,
    failed,
    received,
    released,
    sent,
    started,
    warned,
)
from recordkit.scene import SUBSCRIBED, Fault, Inject, Scene
from recordkit.status import KEYLESS, NO_RECORD, NORMAL, REPLYING, lost, shows
from waiting import PATIENCE, eventually

from syft_flwr.names import card

_PERMISSIONS = "syft.pub.yaml"
#: A file that a person wrote: only the owner has access, also to all folders below.
_PRIVATE = "terminal: true\nrules: []\n"
#: Seconds for a probe that no client takes over.
_NEVER = 0.5
_BLOCKING = "version: 1\ndefaults:\n  action: block\nrules: []\n"


def begin(scene: Scene) -> None:
    """Start all participants, and wait for the start messages."""
    scene.federation.introduce()
    scene.federation.start()
    scene.grid._caller.wait(scene.grid._announced, timeout=PATIENCE)
    scene.wait_for_contact()


def while_the_app_works(
    fault: Callable[[Any], None], heal: Callable[[Any], object], *, later: float = 0.0, probe: float = _NEVER
) -> Inject:
    """Return a fault of the network that begins in training, and ends after the reply was written."""

    def inject(scene: Scene) -> None:
        begin(scene)
        message_id = scene.push_to_the_gate()
        world = scene.storage.network.faithful
        fault(world)
        scene.owner.journal.open_gate()
        scene.wait_for_events(OWNER, "datasite", "reply-released", 1)
        scene.examine(AGGREGATOR, probe=probe, later=later)
        scene.examine(OWNER, probe=probe)
        heal(world)
        assert answer_of(scene.pull(message_id))

    return inject


def subscriptions_block(scene: Scene) -> None:
    """Let the subscriptions of the aggregator block all files of the data owner."""
    path = scene.storage.network[AGGREGATOR].client_state / "syft.sub.yaml"
    path.write_text(_BLOCKING)
    scene.owner.start()
    scene.federation.begin_run()
    with scene.federation.asking("answer", OWNER, timeout=600) as replies:
        scene.clock.advance(5)
        scene.wait_for_log("nothing from the datasite")
        eventually(lambda: scene.storage.read(card(AGGREGATOR), OWNER), "the key of the aggregator")
        scene.wait_for_screen(AGGREGATOR, KEYLESS)
        scene.examine()
        scene.clock.advance(595)
        assert "no-key" in reason_of(replies.result(PATIENCE)[0])
    path.write_text(SUBSCRIBED)
    eventually(lambda: scene.storage.read(card(OWNER), AGGREGATOR), "the key of the data owner")
    scene.federation.assert_served()


def permissions_refuse(scene: Scene) -> None:
    """Let a permission file of the data owner give the aggregator no access to its messages."""
    path = scene.storage.network[OWNER].datasite / "app_data" / _PERMISSIONS
    scene.federation.introduce()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_PRIVATE)
    scene.storage.settle()
    scene.federation.begin_run()
    message_id = scene.push()
    assert "sync-refused" in reason_of(scene.pull(message_id))
    scene.examine()


FAULTS = [
    Fault(
        "the SyftBox client of the data owner is stopped",
        while_the_app_works(lambda world: world.kill(OWNER), lambda world: world.restart(OWNER), later=3600),
        ASKED,
        REPLIED,
        ["faults/test_syftbox_losses.py"],
        over="synced",
        still=False,
        status=NORMAL,
        doctor=(
            [Found("peers-running", f"the last heartbeat of {OWNER} is 60 minutes old")],
            [
                Found("syftbox-client", "no SyftBox client runs for"),
                Found("syftbox-sync", "no SyftBox client took over a probe file", "skipped"),
            ],
        ),
    ),
    Fault(
        "the SyftBox server is down",
        while_the_app_works(lambda world: world.stop_server(), lambda world: world.start_server()),
        ASKED,
        REPLIED,
        ["faults/test_syftbox_losses.py"],
        over="synced",
        still=False,
        status=NORMAL,
        doctor=([Found("syftbox-sync", "runs, but took over no probe file")],) * 2,
    ),
    Fault(
        "the connection of the SyftBox client is cut",
        while_the_app_works(lambda world: world.cut(OWNER), lambda _: None, probe=PROBE),
        ASKED,
        REPLIED,
        ["faults/test_syftbox_losses.py"],
        over="synced",
        still=False,
        status=NORMAL,
        doctor=ALL_WELL,
    ),
    Fault(
        "the subscriptions block the data owner",
        subscriptions_block,
        (
            BEGUN,
            warned("nothing from the datasite of"),
            failed("no-key", "nothing from the datasite of"),
            sent(N),
            answered(N),
            ended(),
        ),
        (SERVED, received(N), started(N), released(N), ended()),
        ["faults/test_peers.py"],
        over="subscribed",
        status=(
            shows(
                ("the latest", "nothing from the datasite of"), KEYLESS, after=(": completed", "| 1 of 2 | 1: no-key |")
            ),
            REPLYING,
        ),
        doctor=(
            [
                Found("subscriptions", f"block files of {OWNER}, so messages are not exchanged"),
                Found("peers", f"there is no key card of {OWNER}", "skipped"),
                Found("peers-running", f"no file of {OWNER} has arrived here"),
            ],
            WELL,
        ),
    ),
    Fault(
        "a permission file refuses the aggregator",
        permissions_refuse,
        (BEGUN, sent(), failed("sync-refused", "no permission to write"), ended()),
        (),
        ["faults/test_syftbox_losses.py"],
        over="synced",
        still=False,
        ends=("failed", ""),
        status=(lost("sync-refused: ", "no permission to write"), NO_RECORD),
        doctor=(
            [Found("peers-running", f"the client of {OWNER} does not run: it has no heartbeat")],
            [Found("permissions", f"gives {AGGREGATOR} no access to files that messages need")],
        ),
    ),
]
