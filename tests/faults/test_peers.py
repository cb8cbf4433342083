"""Shows the handling of peers without a key, with a changed key, an invalid key card or a different encryption setting.

No participant falls back to plain text. A message that cannot be sealed is not sent, and one that cannot be opened is not
run. The error names the peer and the remedy.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from faultkit.clock import StillClock
from faultkit.federation import AGGREGATOR, OWNERS, Federation, answer_of, reason_of
from faultkit.storage import MemoryStorage
from flwr.app import ConfigRecord
from waiting import PATIENCE, eventually

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.wire.card import write_card
from syft_flwr.names import card

LATE, EARLY = OWNERS
#: Stands for the weights of a model.
SECRET = "the weights of the model"


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage, clock: StillClock) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", memory, clock=clock) as federation:
        yield federation


def secret() -> dict[str, ConfigRecord]:
    return {"secret": ConfigRecord({"text": SECRET})}


def assert_nothing_in_the_clear(storage: MemoryStorage) -> None:
    """Check that no file in the storage contains the secret."""
    assert storage.names()
    leaks = [name for name in storage.names() if SECRET.encode() in storage.read(name)]
    assert not leaks


def lines_about(logged: list[str], text: str) -> list[str]:
    return [line for line in logged if text in line and line.startswith(("WARNING", "ERROR"))]


def accept(participant: object, peer: str) -> None:
    """Accept the new key of ``peer``, as ``syft-flwr peers accept`` does."""
    with participant.open_trust() as trust:
        trust.accept(peer, trust.change_of(peer).published)


def wait_until_the_other_is_done(federation: Federation) -> None:
    federation.wait_until_received(1)
    # After two more reads of the missing key, the waiting thread knows of the recorded reply.
    looks = federation.spy.reads[card(LATE)]
    eventually(lambda: federation.spy.reads[card(LATE)] >= looks + 2, "two more reads of the key")


def test_nothing_is_sent_to_a_peer_without_key(
    federation: Federation, memory: MemoryStorage, clock: StillClock, logged: list[str]
) -> None:
    federation[EARLY].start()
    federation.begin_run()
    ids = federation.grid.push_messages(federation.messages("answer", **secret()))
    (reply,) = federation.pull(ids[1:])
    assert answer_of(reply)
    assert not federation.grid.pull_messages(ids[:1])
    assert not memory.read(federation.request_name(LATE, ids[0]))
    assert_nothing_in_the_clear(memory)
    missing = f"nothing from the datasite of {LATE} has arrived yet"
    assert lines_about(logged, missing) == [], "the key may come within seconds"
    clock.advance(5)
    eventually(lambda: lines_about(logged, missing), "the line about the key")
    (line,) = lines_about(logged, missing)
    assert f"Ask {LATE} to start syft-flwr" in line
    assert "no subscription that blocks" in line
    federation[LATE].start()
    federation.assert_served()


def test_peer_without_key_gives_one_error(federation: Federation, clock: StillClock) -> None:
    federation[EARLY].start()
    federation.begin_run()
    with federation.asking("answer", timeout=600) as replies:
        wait_until_the_other_is_done(federation)
        clock.advance(599)
        assert not replies.done()
        clock.advance(1)
        unanswered, answered = replies.result(PATIENCE)
    assert (
        reason_of(unanswered)
        == f"{LATE}: no-key: nothing from the datasite of {LATE} has arrived (no reply within 600 s, the timeout of the call)"
    )
    assert answer_of(answered)
    federation[LATE].start()
    federation.assert_served()


def test_synced_peer_without_key_has_published_none(
    federation: Federation, memory: MemoryStorage, clock: StillClock, logged: list[str]
) -> None:
    memory.plant(f"{LATE}/public/about.txt", b"a file of another program")
    federation[EARLY].start()
    federation.begin_run()
    with federation.asking("answer", timeout=600) as replies:
        wait_until_the_other_is_done(federation)
        clock.advance(5)
        eventually(lambda: lines_about(logged, f"{LATE} has published no key yet"), "the line about the key")
        clock.advance(595)
        unanswered, _ = replies.result(PATIENCE)
    assert (
        reason_of(unanswered)
        == f"{LATE}: no-key: {LATE} has published no key (no reply within 600 s, the timeout of the call)"
    )
    (line,) = lines_about(logged, f"{LATE} has published no key yet")
    assert f"Ask {LATE} to start syft-flwr once" in line


def test_late_key_releases_the_request(federation: Federation, memory: MemoryStorage, clock: StillClock) -> None:
    federation[EARLY].start()
    federation.begin_run()
    with federation.asking("answer", timeout=600) as replies:
        wait_until_the_other_is_done(federation)
        clock.advance(300)
        federation[LATE].start()
        for reply in replies.result(PATIENCE):
            assert answer_of(reply)
    assert_nothing_in_the_clear(memory)


@pytest.mark.parametrize("content", [b"no card at all", b"", b"{}", b"\x00" * 20_000])
def test_unreadable_card_stops_the_exchange(federation: Federation, memory: MemoryStorage, content: bytes) -> None:
    federation.start()
    memory.plant(card(LATE), content)
    with federation.asking("answer", LATE, timeout=60) as replies:
        if not content:
            # An empty file counts as a missing one. The key is known from an earlier exchange.
            assert answer_of(replies.result(PATIENCE)[0])
            return
        (reply,) = replies.result(PATIENCE)
    assert LATE in reason_of(reply)
    assert not federation[LATE].journal.calls
    federation.introduce()
    federation.assert_served()


def test_changed_owner_key_must_be_accepted(federation: Federation, memory: MemoryStorage, logged: list[str]) -> None:
    federation.start()
    federation.assert_served()
    federation.stop()
    (federation.root / LATE / "identity.key").unlink()
    federation[LATE].journal.path.unlink()
    federation.start()
    refused, answered = federation.exchange(federation.messages("answer", **secret()), timeout=60)
    assert answer_of(answered)
    assert reason_of(refused).startswith(f"{LATE}: changed-key: the key of {LATE} changed")
    assert any(f"syft-flwr peers accept {LATE}" in line for line in lines_about(logged, "changed"))
    assert not federation[LATE].journal.calls
    assert_nothing_in_the_clear(memory)
    accept(federation.participant, LATE)
    federation.assert_served()


def test_changed_aggregator_key_must_be_accepted(
    federation: Federation, memory: MemoryStorage, clock: StillClock, logged: list[str]
) -> None:
    federation.start()
    federation.assert_served()
    federation.close_grid()
    (federation.root / AGGREGATOR / "identity.key").unlink()
    federation.begin_run()
    calls = len(federation[LATE].journal.calls)
    (message_id,) = federation.push("answer", LATE)
    name = federation.request_name(LATE, message_id)
    (line,) = eventually(lambda: lines_about(logged, name), "a line about the request")
    assert f"the key of {AGGREGATOR} changed" in line
    assert f"syft-flwr peers accept {AGGREGATOR}" in line
    federation[LATE].spy.wait_for_scans()
    assert len(federation[LATE].journal.calls) == calls
    assert len(lines_about(logged, name)) == 1
    for email in OWNERS:
        accept(federation[email].participant, AGGREGATOR)
    (reply,) = federation.pull([message_id])
    assert answer_of(reply)
    federation.assert_served()


def test_key_change_during_the_app_keeps_the_client(
    federation: Federation, memory: MemoryStorage, logged: list[str]
) -> None:
    """The reply cannot be sealed at first. When the true card of the aggregator is back, the exchange continues."""
    federation.start()
    federation.assert_served()
    genuine = memory.read(card(AGGREGATOR))
    (message_id,) = federation.push("answer_at_the_gate", LATE)
    federation[LATE].journal.wait_for_call(message_id)
    memory.plant(card(AGGREGATOR), write_card(AGGREGATOR, Identity.generate()))
    federation[LATE].journal.open_gate()
    eventually(lambda: lines_about(logged, f"the key of {AGGREGATOR} changed"), "a line about the changed key")
    memory.plant(card(AGGREGATOR), genuine)
    (reply,) = federation.pull([message_id])
    assert answer_of(reply)
    federation.assert_served()


@pytest.mark.parametrize("with_encryption", [AGGREGATOR, LATE])
def test_encryption_on_one_side_is_an_error_on_both(
    tmp_path: Path, memory: MemoryStorage, logged: list[str], with_encryption: str
) -> None:
    options = {email: {"encryption": email == with_encryption} for email in (AGGREGATOR, LATE)}
    with Federation(tmp_path / "homes", memory, [LATE], options=options) as federation:
        federation[LATE].start()
        federation.begin_run()
        (reply,) = federation.exchange(federation.messages("answer", LATE), timeout=10)
        theirs, ours = ("off", "on") if with_encryption == AGGREGATOR else ("on", "off")
        assert reason_of(reply).startswith(f"{LATE}: encryption: {LATE} has encryption {theirs}, and it is {ours} here")
        refused = lines_about(logged, f"{AGGREGATOR} has encryption {ours}, and it is {theirs} here")
        noticed = lines_about(logged, f"{LATE} has encryption {theirs}, and it is {ours} here")
        assert refused
        assert noticed
        assert all("SYFT_FLWR_ENCRYPTION_ENABLED" in "".join(lines) for lines in (refused, noticed))
        assert not federation[LATE].journal.calls
        # The data owner cannot read any message of the aggregator, so a stop needs a corrected setting.
        federation.close_grid()
        settings = federation.participant.settings
        federation.participant.settings = replace(settings, encryption=not settings.encryption)
        federation.begin_run()
        federation.assert_served()


def test_encryption_off_sends_signed_plain_text(tmp_path: Path, memory: MemoryStorage) -> None:
    options = {email: {"encryption": False} for email in (AGGREGATOR, LATE)}
    with Federation(tmp_path / "homes", memory, [LATE], options=options) as federation:
        federation.start()
        (message_id,) = federation.grid.push_messages(federation.messages("answer", **secret()))
        assert SECRET.encode() in memory.read(federation.request_name(LATE, message_id))
        assert answer_of(federation.pull([message_id])[0])
