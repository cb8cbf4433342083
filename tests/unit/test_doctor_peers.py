"""The doctor's checks of the peers and of the clock: heartbeats, releases, and the clocks at hand."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from examined import AGGREGATOR, APP, OTHER, OWNER, Examined, check, only_problem, wrong_waits
from identities import old_card

from syft_flwr._messaging.wire.card import _statement, write_card
from syft_flwr._messaging.wire.heartbeat import Heartbeat, Role, heartbeat_name
from syft_flwr.clock import SystemClock
from syft_flwr.doctor.findings import Finding
from syft_flwr.names import AppNames, card
from syft_flwr.software import SYFT_FLWR

NAMES = AppNames(APP)


class ShiftedClock(SystemClock):
    """The clock of the machine, with another time of day."""

    def __init__(self, shift: timedelta) -> None:
        self.shift = shift

    def now(self) -> datetime:
        return super().now() + self.shift


@pytest.fixture
def federation(tmp_path: Path) -> Examined:
    federation = Examined(tmp_path)
    federation.start(AGGREGATOR, OWNER, OTHER)
    federation.meet(AGGREGATOR, OWNER, OTHER)
    federation.meet(OWNER, AGGREGATOR)
    return federation


def beat(federation: Examined, email: str, role: Role, age: timedelta = timedelta()) -> None:
    """Write a heartbeat of a participant that is ``age`` old."""
    with federation.participant(email) as (participant, trust):
        written = participant.clock.now() - age
        heartbeat = Heartbeat(role, email, APP, trust.begin_session(APP, role), 1, written)
        name = heartbeat_name(NAMES, role, email)
        readers = [AGGREGATOR, OWNER, OTHER]
        participant.transport.put(name, heartbeat.encode(trust.identity), readers=readers, replace=True)


def write_public_card(federation: Examined, email: str, *, software: str = SYFT_FLWR, old: bool = False) -> None:
    with federation.participant(email) as (participant, trust):
        data = old_card(email, trust.identity) if old else write_card(email, trust.identity, software)
        participant.transport.put(card(email), data, readers=["*"], replace=True)


def about(found: list[Finding], email: str) -> Finding:
    (one,) = [finding for finding in found if email in finding.text]
    return one


# Reach


def test_data_owner_with_a_heartbeat_runs(federation: Examined) -> None:
    beat(federation, OWNER, "data-owner")
    found = about(federation.check("peers-running"), OWNER)
    assert found.state == "ok"
    assert "its last heartbeat is 0 s old" in found.text


def test_data_owner_without_a_heartbeat_does_not_run(federation: Examined) -> None:
    found = about(federation.check("peers-running"), OWNER)
    assert (found.state, found.text) == ("problem", f"the client of {OWNER} does not run: it has no heartbeat")
    assert found.fix == f"Ask {OWNER} to start its client: syft-flwr client PROJECT"


@pytest.mark.parametrize(("minutes", "state"), [(1, "ok"), (4, "unknown"), (60, "problem")])
def test_old_heartbeat_of_a_data_owner_is_judged(federation: Examined, minutes: int, state: str) -> None:
    beat(federation, OWNER, "data-owner", timedelta(minutes=minutes))
    assert about(federation.check("peers-running"), OWNER).state == state


def test_forged_heartbeat_is_a_problem(federation: Examined) -> None:
    beat(federation, OWNER, "data-owner")
    path = federation.datasite(OWNER) / NAMES.heartbeat(OWNER).partition("/")[2]
    path.write_bytes(path.read_bytes().replace(b'"beat": 1', b'"beat": 2'))
    assert about(federation.check("peers-running"), OWNER).state == "problem"


@pytest.mark.parametrize("form", ["folder", "link", "pipe", "huge", "no-json"])
def test_bad_card_of_one_peer_hides_no_other(federation: Examined, form: str) -> None:
    beat(federation, OTHER, "data-owner")
    path = federation.datasite(OWNER) / card(OWNER).partition("/")[2]
    path.unlink()
    if form == "folder":
        path.mkdir()
    elif form == "link":
        path.symlink_to("/dev/zero")
    elif form == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"0" * 100_000 if form == "huge" else b"\x1b[31m")
    for name in ("peers", "peers-running", "releases"):
        found = federation.check(name)
        assert about(found, OTHER).state == "ok"
        assert "\x1b" not in str(found)
    found = federation.examine(offline=False)
    assert OWNER in only_problem(found).text
    assert not wrong_waits(found)


def test_participant_without_files_here_is_a_problem(tmp_path: Path) -> None:
    federation = Examined(tmp_path)
    federation.start(AGGREGATOR)
    found = about(federation.check("peers-running"), OWNER)
    assert (found.state, found.text) == ("problem", f"no file of {OWNER} has arrived here")


def test_aggregator_that_does_not_run_is_no_problem(federation: Examined) -> None:
    (found,) = federation.check("peers-running", OWNER)
    assert (found.state, AGGREGATOR in found.text) == ("unknown", True)
    beat(federation, AGGREGATOR, "aggregator")
    (found,) = federation.check("peers-running", OWNER)
    assert found.state == "ok"


# Releases


def test_same_release_at_a_peer_is_told(federation: Examined) -> None:
    assert about(federation.check("releases"), OWNER).text == f"{OWNER} has {SYFT_FLWR}, as this machine"


def test_other_release_at_a_peer_is_unknown(federation: Examined) -> None:
    write_public_card(federation, OWNER, software="syft-flwr 9.9.9")
    found = about(federation.check("releases"), OWNER)
    assert (found.state, found.text) == ("unknown", f"{OWNER} has syft-flwr 9.9.9; this machine has {SYFT_FLWR}")


def test_release_that_reads_no_request_is_a_problem(federation: Examined) -> None:
    write_public_card(federation, OWNER, old=True)
    found = about(federation.check("releases"), OWNER)
    assert found.state == "problem"
    assert f"Install {SYFT_FLWR}" in found.fix


@pytest.mark.parametrize(
    "software",
    [
        "\x1b]0;title\x07",
        "syft-flwr 1.0\x1b[2J",
        "\u202esyft-flwr 1.0.0",
        "syft-flwr 1.0\n",
        "s" * (1 << 20),
        5,
        None,
        ["x"],
        {},
    ],
)
def test_software_of_another_form_is_not_shown(software: object, federation: Examined) -> None:
    with federation.participant(OWNER) as (participant, trust):
        fields = json.loads(write_card(OWNER, trust.identity)) | {"software": software}
        statement = _statement(2, OWNER, str(software), trust.identity.public)
        fields["signature"] = trust.identity.sign(statement).hex()
        participant.transport.put(card(OWNER), json.dumps(fields).encode(), readers=["*"], replace=True)
    beat(federation, OTHER, "data-owner")
    found = federation.examine(offline=False)
    assert OWNER in only_problem(found).text
    assert not wrong_waits(found)
    assert not any(sign in str(each.as_fields()) for each in found for sign in ("\x1b", "\x07", "\u202e", "ssss"))


# The clock


def clock_findings(federation: Examined, shift: timedelta) -> list[Finding]:
    subject = federation.subject()
    subject.clock = ShiftedClock(shift)
    return check("clock", subject)


def test_copied_home_that_runs_elsewhere_is_told(federation: Examined) -> None:
    beat(federation, OWNER, "data-owner")
    # A copy has other files than the home whose client runs.
    home, copied = federation.home(OWNER), federation.folder / "copied"
    shutil.copytree(home, copied)
    home.rename(federation.folder / "original")
    copied.rename(home)

    found = only_problem(federation.check("keys", OWNER))

    assert "so one of the two homes is a copy" in found.text
    assert found.fix.startswith("Stop syft-flwr there")


def test_own_heartbeat_is_not_that_of_a_copy(federation: Examined) -> None:
    beat(federation, OWNER, "data-owner")
    assert [found.state for found in federation.check("keys", OWNER)] == ["ok"]


def test_peers_of_an_older_release_are_unknown(federation: Examined) -> None:
    with closing(sqlite3.connect(federation.home() / "peers.db")) as connection:
        connection.execute("PRAGMA user_version = 2")

    (found,) = federation.check("peers")

    assert found.state == "unknown"
    assert found.fix == "Start its server or client once, which takes over its rows."


def test_clock_behind_a_peer_is_a_problem(federation: Examined) -> None:
    beat(federation, OWNER, "data-owner")
    found = only_problem(clock_findings(federation, timedelta(hours=-1)))
    assert found.text == f"the clock of this machine is 60 minutes behind the clock of {OWNER}"
    assert "timedatectl set-ntp true" in found.fix


def test_clock_before_its_own_last_start_is_a_problem(federation: Examined) -> None:
    beat(federation, AGGREGATOR, "aggregator")
    found = only_problem(clock_findings(federation, timedelta(days=-1)))
    assert "is before the time of its own last start" in found.text


def test_right_clock_is_compared_with_all_at_hand(federation: Examined) -> None:
    beat(federation, OWNER, "data-owner")
    beat(federation, AGGREGATOR, "aggregator")
    (found,) = clock_findings(federation, timedelta())
    assert found.text == f"the clock agrees with the time of the last start here, the heartbeat of {OWNER}"


def test_clock_without_another_one_is_unknown(federation: Examined) -> None:
    (found,) = clock_findings(federation, timedelta(days=-1))
    assert found.state == "unknown"
