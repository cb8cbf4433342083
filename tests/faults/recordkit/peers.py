"""Faults of keys and of encryption: a peer without a key, with another key, or with the other setting."""

from dataclasses import replace

from faultkit.federation import AGGREGATOR, answer_of, reason_of
from recordkit.examining import WELL, Found
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
from recordkit.status import ASKING, KEYLESS, NO_RECORD, REPLYING, lost, shows
from waiting import PATIENCE, eventually

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.wire.card import write_card
from syft_flwr.names import card


def no_key(scene: Scene) -> None:
    scene.federation.begin_run()
    # It waits until the end of the run.
    scene.push()
    with scene.federation.asking("answer", OWNER, timeout=600) as replies:
        scene.clock.advance(5)
        scene.wait_for_log("nothing from the datasite")
        scene.wait_for_screen(AGGREGATOR, KEYLESS)
        scene.examine()
        scene.clock.advance(595)
        assert "no-key" in reason_of(replies.result(PATIENCE)[0])
    scene.wait_for_screen(AGGREGATOR, (*KEYLESS, "| 0 of 1 | 1: no-key"))


def late_key(scene: Scene) -> None:
    scene.federation.begin_run()
    message_id = scene.push()
    scene.clock.advance(5)
    scene.wait_for_log("nothing from the datasite")
    scene.wait_for_screen(AGGREGATOR, KEYLESS)
    scene.examine()
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
    scene.examine()
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
    scene.examine()
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
    scene.examine()
    scene.storage.plant(card(AGGREGATOR), genuine)
    assert answer_of(scene.pull(message_id))


def encryption_on_one_side(scene: Scene) -> None:
    scene.owner.start()
    scene.federation.begin_run()
    assert "encryption" in reason_of(scene.ask(timeout=10))
    scene.examine()
    while_refused = dict(scene.findings)
    participant = scene.federation.participant
    scene.federation.close_grid()
    participant.settings = replace(participant.settings, encryption=True)
    scene.federation.begin_run()
    scene.federation.assert_served()
    scene.examine()
    found = [each for email in scene.sides for each in scene.findings[email] if each.check == "encryption"]
    assert [each.state for each in found] == ["ok", "ok"]
    scene.findings = while_refused


def forged_card(scene: Scene) -> None:
    scene.federation.start()
    scene.federation.grid._caller.wait(scene.grid._announced, timeout=PATIENCE)
    genuine = scene.storage.read(card(OWNER))
    scene.storage.plant(card(OWNER), b"no card at all")
    assert reason_of(scene.ask(timeout=60))
    scene.examine()
    scene.storage.plant(card(OWNER), genuine)
    eventually(lambda: scene.storage.read(card(OWNER)) == genuine, "the true card")


_PEERS = ["faults/test_peers.py"]
_NO_CARD = (
    Found("peers", f"there is no key card of {OWNER}", "skipped"),
    Found("peers-running", f"no file of {OWNER} has arrived here"),
)
FAULTS = [
    Fault(
        "the data owner has no key",
        no_key,
        (
            BEGUN,
            warned("nothing from the datasite of"),
            failed("no-key", "the timeout of the call"),
            failed("no-key", "nothing from the datasite of", N),
            ended(),
        ),
        (),
        [*_PEERS, "faults/resume/test_failed.py"],
        ends=("failed", ""),
        status=(
            shows(
                ("the latest", "nothing from the datasite of"),
                KEYLESS,
                after=(": failed", "| 0 of 2 | 2: no-key |", "no-key: nothing from the datasite of"),
            ),
            NO_RECORD,
        ),
        doctor=(_NO_CARD, WELL),
    ),
    Fault(
        "the key of the data owner comes late",
        late_key,
        (BEGUN, warned("nothing from the datasite of"), sent(), answered(), ended()),
        (SERVED, received(), started(), released(), closed(), ended()),
        _PEERS,
        status=(
            shows(
                ("the latest", "nothing from the datasite of"),
                KEYLESS,
                "query request sent",
                after=(": completed", "| 1 of 1 | 0 |"),
            ),
            REPLYING,
        ),
        doctor=(_NO_CARD, WELL),
    ),
    Fault(
        "the key of the data owner has changed",
        new_owner_key,
        (BEGUN, warned("changed", "error"), failed("changed-key", "changed"), sent(N), answered(N), ended()),
        (SERVED, received(N), released(N), ended()),
        _PEERS,
        status=(
            shows(
                ("| 0 of 1 | 1: changed-key |", "changed-key: the key of"),
                after=(": completed", "| 1 of 2 | 1: changed-key |", f"changed-key: the key of {OWNER} changed"),
            ),
            REPLYING,
        ),
        doctor=(
            [
                Found("peers", f"the key of {OWNER} changed"),
                Found("peers", f"syft-flwr peers accept {OWNER}"),
                Found("peers-running", f"no message is exchanged with {OWNER}", "skipped"),
            ],
            WELL,
        ),
    ),
    Fault(
        "the key of the aggregator has changed",
        new_aggregator_key,
        (BEGUN, sent(), answered(), ended()),
        (SERVED, received(), started(), released(), closed(), ended()),
        _PEERS,
        no_run=(refused("changed-key", f"the key of {AGGREGATOR} changed", aggregator=AGGREGATOR),),
        status=(ASKING, REPLYING),
        doctor=(
            WELL,
            [
                Found("peers", f"the key of {AGGREGATOR} changed"),
                Found("peers", f"syft-flwr peers accept {AGGREGATOR}"),
                Found("peers-running", f"no message is exchanged with {AGGREGATOR}", "skipped"),
            ],
        ),
    ),
    Fault(
        "the key of the aggregator changes in training",
        key_changes_during_the_app,
        (BEGUN, sent(), answered(), ended()),
        (SERVED, received(), started(), warned("cannot be recorded now", "error"), released()),
        _PEERS,
        status=(
            ASKING,
            shows(
                "query runs",
                ("the latest", "cannot be recorded now"),
                "idle | 1 of 1 | 0",
                after=(": completed", "| 1 of 1 | 0 |"),
            ),
        ),
        doctor=(
            [Found("keys", f"the public folder of {AGGREGATOR} has a key card with other keys")],
            [Found("peers", f"the key of {AGGREGATOR} changed")],
        ),
    ),
    Fault(
        "the card of the data owner is damaged",
        forged_card,
        (BEGUN, warned(OWNER, "error"), failed("invalid", OWNER), ended()),
        (SERVED, ended()),
        _PEERS,
        ends=("failed", "failed"),
        status=(
            shows(
                ("| 0 of 1 | 1: invalid |", "invalid: the key card of"),
                after=(": failed", "| 0 of 1 | 1: invalid |", f"invalid: the key card of {OWNER}"),
            ),
            shows(after=(": failed after", "(the run failed at its aggregator)", "| 0 of 0 | 0 |")),
        ),
        doctor=(
            [
                Found("peers", f"the key card of {OWNER} cannot be read"),
                Found("peers-running", f"no message is exchanged with {OWNER}", "skipped"),
            ],
            WELL,
        ),
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
        status=(lost(f"encryption: {OWNER} has encryption on, and it is off here"), NO_RECORD),
        doctor=(
            [Found("encryption", f"{OWNER} had encryption on at its last message", "unknown")],
            [Found("encryption", f"{AGGREGATOR} had encryption off at its last message", "unknown")],
        ),
    ),
]
