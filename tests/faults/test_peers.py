"""Peers without a key, with another key than before, with a card that cannot be believed, or of the other encryption.

Nothing falls back to plain text: what cannot be sealed is not sent, what cannot be opened is not run, and the error
names the peer and what a person can do.
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
    """Look into every file that there is."""
    assert storage.names()
    leaks = [name for name in storage.names() if SECRET.encode() in storage.read(name)]
    assert not leaks


def lines_about(logged: list[str], text: str) -> list[str]:
    return [line for line in logged if text in line and line.startswith(("WARNING", "ERROR"))]


def accept(participant: object, peer: str) -> None:
    """Do what ``syft-flwr peers accept`` does."""
    with participant.open_trust() as trust:
        trust.accept(peer)


def wait_until_the_other_is_done(federation: Federation) -> None:
    federation.wait_until_received(1)
    # The thread that recorded it has told whoever waits before it looks for the missing key again.
    looks = federation.spy.reads[card(LATE)]
    eventually(lambda: federation.spy.reads[card(LATE)] >= looks + 2, "two more looks for the key")


def test_to_a_peer_without_a_key_nothing_is_sent_and_the_others_do_not_wait(
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
    assert len(lines_about(logged, f"{LATE} has published no key yet")) == 1
    assert any(f"Ask {LATE} to start its client once" in line for line in logged)
    federation[LATE].start()
    federation.assert_served()


def test_a_peer_without_a_key_ends_as_one_error_when_the_time_is_over(
    federation: Federation, clock: StillClock
) -> None:
    federation[EARLY].start()
    federation.begin_run()
    with federation.asking("answer", timeout=600) as replies:
        wait_until_the_other_is_done(federation)
        clock.advance(599)
        assert not replies.done()
        clock.advance(1)
        unanswered, answered = replies.result(PATIENCE)
    assert reason_of(unanswered) == f"{LATE}: no-key: {LATE} has published no key"
    assert answer_of(answered)
    federation[LATE].start()
    federation.assert_served()


def test_a_key_that_comes_minutes_later_brings_the_request_on_its_way(
    federation: Federation, memory: MemoryStorage, clock: StillClock
) -> None:
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
def test_a_card_that_cannot_be_read_stops_the_exchange_and_nothing_is_sent(
    federation: Federation, memory: MemoryStorage, content: bytes
) -> None:
    federation.start()
    memory.plant(card(LATE), content)
    with federation.asking("answer", LATE, timeout=60) as replies:
        if not content:
            # An empty file is one that is not there: the peer was met before, so its key is known.
            assert answer_of(replies.result(PATIENCE)[0])
            return
        (reply,) = replies.result(PATIENCE)
    assert LATE in reason_of(reply)
    assert not federation[LATE].journal.calls
    federation.introduce()
    federation.assert_served()


def test_a_changed_key_of_a_data_owner_stops_the_exchange_until_it_is_accepted(
    federation: Federation, memory: MemoryStorage, logged: list[str]
) -> None:
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


def test_a_changed_key_of_the_aggregator_stops_the_exchange_until_it_is_accepted(
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


def test_a_key_that_changes_while_the_app_runs_does_not_end_the_watcher(
    federation: Federation, memory: MemoryStorage, logged: list[str]
) -> None:
    """The answer cannot be sealed then. The aggregator's true card comes back, and the exchange goes on."""
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
def test_encryption_on_one_side_only_is_an_error_on_both_that_names_the_setting(
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
        # Nothing that the aggregator says can be read there, a stop neither; so one of them corrects its setting.
        federation.close_grid()
        settings = federation.participant.settings
        federation.participant.settings = replace(settings, encryption=not settings.encryption)
        federation.begin_run()
        federation.assert_served()


def test_encryption_off_on_both_sides_serves_signed_plain_text(tmp_path: Path, memory: MemoryStorage) -> None:
    options = {email: {"encryption": False} for email in (AGGREGATOR, LATE)}
    with Federation(tmp_path / "homes", memory, [LATE], options=options) as federation:
        federation.start()
        (message_id,) = federation.grid.push_messages(federation.messages("answer", **secret()))
        assert SECRET.encode() in memory.read(federation.request_name(LATE, message_id))
        assert answer_of(federation.pull([message_id])[0])
