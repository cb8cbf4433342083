"""Faults of keys and of encryption: a peer without a key, with another key, or with the other setting."""

from dataclasses import replace

from faultkit.federation import AGGREGATOR, answer_of, reason_of
from recordkit.expected import (
    BEGUN,
    OWNER,
    SERVED,
    N,
    answered,
    closed,
    ended,
    failed,
    received,
    refused,
    released,
    sent,
    started,
    warned,
)
from recordkit.scene import Fault, Scene
from waiting import PATIENCE, eventually

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.wire.card import write_card
from syft_flwr.names import card


def no_key(scene: Scene) -> None:
    scene.federation.begin_run()
    with scene.federation.asking("answer", OWNER, timeout=600) as replies:
        scene.clock.advance(5)
        scene.wait_for_log("nothing from the datasite")
        scene.clock.advance(595)
        assert "no-key" in reason_of(replies.result(PATIENCE)[0])


def late_key(scene: Scene) -> None:
    scene.federation.begin_run()
    message_id = scene.push()
    scene.clock.advance(5)
    scene.wait_for_log("nothing from the datasite")
    scene.owner.start()
    assert answer_of(scene.pull(message_id))


def new_owner_key(scene: Scene) -> None:
    """Let the aggregator know another key of the data owner, and accept the new one at the end."""
    scene.federation.introduce()
    with scene.federation.participant.open_trust() as trust:
        trust.identity_of(OWNER)
    (scene.federation.root / OWNER / "identity.key").unlink()
    scene.federation.start()
    assert "changed-key" in reason_of(scene.ask(timeout=60))
    with scene.federation.participant.open_trust() as trust:
        trust.accept(OWNER, trust.change_of(OWNER).published)
    scene.federation.assert_served()


def new_aggregator_key(scene: Scene) -> None:
    """Let the data owner know another key of the aggregator, until a person accepts the new one."""
    scene.federation.introduce()
    with scene.owner.participant.open_trust() as trust:
        trust.identity_of(AGGREGATOR)
    (scene.federation.root / AGGREGATOR / "identity.key").unlink()
    scene.federation.start()
    message_id = scene.push()
    name = scene.federation.request_name(OWNER, message_id)
    scene.wait_for_log(name)
    with scene.owner.participant.open_trust() as trust:
        trust.accept(AGGREGATOR, trust.change_of(AGGREGATOR).published)
    assert answer_of(scene.pull(message_id))


def key_changes_during_the_app(scene: Scene) -> None:
    """Put a false card in place of the aggregator's while the app runs, so that the reply cannot be sealed at first."""
    scene.federation.start()
    genuine = scene.storage.read(card(AGGREGATOR))
    message_id = scene.push_to_the_gate()
    scene.storage.plant(card(AGGREGATOR), write_card(AGGREGATOR, Identity.generate()))
    scene.owner.journal.open_gate()
    scene.wait_for_log("cannot be recorded now")
    scene.storage.plant(card(AGGREGATOR), genuine)
    assert answer_of(scene.pull(message_id))


def encryption_on_one_side(scene: Scene) -> None:
    scene.owner.start()
    scene.federation.begin_run()
    assert "encryption" in reason_of(scene.ask(timeout=10))
    participant = scene.federation.participant
    scene.federation.close_grid()
    participant.settings = replace(participant.settings, encryption=True)
    scene.federation.begin_run()
    scene.federation.assert_served()


def forged_card(scene: Scene) -> None:
    scene.federation.start()
    scene.federation.grid._caller.wait(scene.grid._announced, timeout=PATIENCE)
    genuine = scene.storage.read(card(OWNER))
    scene.storage.plant(card(OWNER), b"no card at all")
    assert reason_of(scene.ask(timeout=60))
    scene.storage.plant(card(OWNER), genuine)
    eventually(lambda: scene.storage.read(card(OWNER)) == genuine, "the true card")


_PEERS = ["faults/test_peers.py"]
FAULTS = [
    Fault(
        "the data owner has no key",
        no_key,
        (
            BEGUN,
            warned("nothing from the datasite of"),
            failed("no-key", "nothing from the datasite of"),
            ended(),
        ),
        (),
        [*_PEERS, "faults/resume/test_failed.py"],
        ends=("failed", ""),
    ),
    Fault(
        "the key of the data owner comes late",
        late_key,
        (BEGUN, warned("nothing from the datasite of"), sent(), answered(), ended()),
        (SERVED, received(), started(), released(), closed(), ended()),
        _PEERS,
    ),
    Fault(
        "the key of the data owner has changed",
        new_owner_key,
        (BEGUN, warned("changed", "error"), failed("changed-key", "changed"), sent(N), answered(N), ended()),
        (SERVED, received(N), released(N), ended()),
        _PEERS,
    ),
    Fault(
        "the key of the aggregator has changed",
        new_aggregator_key,
        (BEGUN, sent(), answered(), ended()),
        (SERVED, received(), started(), released(), closed(), ended()),
        _PEERS,
        no_run=(refused("changed-key", f"the key of {AGGREGATOR} changed", aggregator=AGGREGATOR),),
    ),
    Fault(
        "the key of the aggregator changes in training",
        key_changes_during_the_app,
        (BEGUN, sent(), answered(), ended()),
        (SERVED, received(), started(), warned("cannot be recorded now", "error"), released()),
        _PEERS,
    ),
    Fault(
        "the card of the data owner is damaged",
        forged_card,
        (BEGUN, warned(OWNER, "error"), failed("invalid", OWNER), ended()),
        (SERVED, ended()),
        _PEERS,
        ends=("failed", "failed"),
    ),
    Fault(
        "only the data owner encrypts",
        encryption_on_one_side,
        (
            BEGUN,
            sent(),
            warned(f"{OWNER} has encryption on, and it is off here", "error"),
            failed("encryption", f"{OWNER} has encryption on"),
            ended(),
        ),
        (),
        _PEERS,
        no_run=(
            received(),
            refused("encryption", f"{AGGREGATOR} has encryption off", aggregator=AGGREGATOR),
            released(outcome="failed", reason="encryption"),
        ),
        options={AGGREGATOR: {"encryption": False}},
        ends=("failed", ""),
    ),
]
