"""A card in the own public folder that is not that of this machine: a second machine, or a lost home."""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syft_flwr import names
from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.pulse import Pulse
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.wire.card import write_card
from syft_flwr._messaging.wire.heartbeat import Heartbeat, Role, heartbeat_name
from syft_flwr._store.peers import Peers
from syft_flwr.cli.app import app as cli
from syft_flwr.errors import StoreError
from syft_flwr.testing import FakeClock
from syft_flwr.transport.memory import MemoryNetwork

ME, PEER = "do@y.org", "ds@x.org"
APP = names.AppNames("app")
ROLES: list[Role] = ["aggregator", "data-owner"]


class Place:
    """The public files of one email, and its home on one machine."""

    def __init__(self, home: Path, mine: Identity, other: Identity) -> None:
        self.network, self.clock = MemoryNetwork(), FakeClock()
        self.home, self.mine, self.other = home, mine, other
        home.mkdir()
        self.opened: list[Trust] = []

    def trust(self, identity: Identity | None = None) -> Trust:
        peers = Peers(self.home / "peers.db")
        opened = Trust(self.network.transport(ME), ME, identity or self.mine, peers, self.clock, self.home)
        self.opened.append(opened)
        return opened

    def write(self, name: str, data: bytes, email: str = ME) -> None:
        self.network.transport(email).put(name, data, readers=["*"], replace=True)

    def publish(self, identity: Identity, email: str = ME) -> None:
        self.write(names.card(email), write_card(email, identity), email)

    def beat(self, identity: Identity, age: timedelta, role: Role = "data-owner", session: int = 7) -> None:
        now = self.clock.now()
        heartbeat = Heartbeat(role, ME, APP.app, session, 1, now - age)
        self.write(heartbeat_name(APP, role, ME), heartbeat.encode(identity))


@pytest.fixture
def place(tmp_path: Path, anna: Identity, ben: Identity) -> Iterator[Place]:
    place = Place(tmp_path / ME, anna, ben)
    yield place
    for trust in place.opened:
        trust.close()


def lines(logged: list[str]) -> list[str]:
    return [line for line in logged if line.startswith(("WARNING", "ERROR"))]


def test_first_start_and_later_starts_say_nothing(place: Place, logged: list[str]) -> None:
    for _ in range(2):
        trust = place.trust()
        trust.claim(APP)
        trust.publish(APP, [PEER])
    assert lines(logged) == []
    assert [path.name for path in place.home.iterdir() if "former" in path.name] == []


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("age", [timedelta(0), timedelta(minutes=2), timedelta(minutes=-3)])
def test_second_machine_with_a_fresh_heartbeat_is_refused(place: Place, role: Role, age: timedelta) -> None:
    place.publish(place.other)
    place.beat(place.other, age, role)

    with pytest.raises(StoreError, match=f"another machine takes part as {ME} now") as caught:
        place.trust().claim(APP)

    assert place.other.public.fingerprint in str(caught.value)
    assert "Stop syft-flwr there" in caught.value.hint
    assert not list(place.home.glob("former*"))


@pytest.mark.parametrize("case", ["old", "none", "mine", "forged"])
def test_card_without_a_fresh_heartbeat_is_a_warning(place: Place, logged: list[str], case: str, eve: Identity) -> None:
    place.publish(place.other)
    if case == "old":
        place.beat(place.other, timedelta(minutes=8))
    elif case != "none":
        # Only a heartbeat with the keys of the card shows that its machine runs.
        place.beat(place.mine if case == "mine" else eve, timedelta(0))

    place.trust().claim(APP)

    (line,) = lines(logged)
    assert place.other.public.fingerprint in line
    assert place.mine.public.fingerprint in line
    assert f"`syft-flwr peers accept {ME} FINGERPRINT`" in line
    assert "restore it from a backup" in line


def test_own_process_that_was_killed_is_no_other_machine(place: Place, logged: list[str]) -> None:
    place.publish(place.mine)
    for role in ROLES:
        place.beat(place.mine, timedelta(0), role)
    place.trust().claim(APP)
    assert lines(logged) == []


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff" * 100])
def test_damaged_own_card_does_not_stop_a_start(place: Place, logged: list[str], data: bytes) -> None:
    if data:
        place.write(names.card(ME), data)
    place.trust().claim(APP)
    assert lines(logged) == []


def test_lost_home_is_told_at_each_start_until_accepted(place: Place, logged: list[str]) -> None:
    place.publish(place.other)
    trust = place.trust()
    trust.claim(APP)
    trust.publish(APP, [PEER])
    place.trust().claim(APP)
    first, second = lines(logged)
    assert "is replaced now" in first
    assert f"no peer has accepted the new keys of {ME} yet" in second

    place.trust().note_accepted()
    third = place.trust()
    third.claim(APP)
    assert len(lines(logged)) == 3, "the trust that was not asked to claim knows nothing of it"
    third.note_accepted()
    place.trust().claim(APP)
    assert len(lines(logged)) == 3


def test_running_peer_that_sends_nothing_seems_to_refuse(place: Place, logged: list[str], eve: Identity) -> None:
    place.publish(place.other)
    place.publish(eve, PEER)
    trust = place.trust()
    trust.claim(APP)
    trust.publish(APP, [PEER])
    for seconds in (29, 29, 5):
        place.clock.advance(seconds)
        trust.identity_of(PEER)
    refused = [line for line in lines(logged) if "seems to refuse" in line]
    assert len(refused) == 0
    place.clock.advance(30)
    trust.identity_of(PEER)
    (line,) = (line for line in lines(logged) if "seems to refuse" in line)
    assert f"{PEER} runs" in line
    assert place.mine.public.fingerprint in line

    trust.note_accepted()
    place.clock.advance(3600)
    trust.identity_of(PEER)
    assert len([line for line in lines(logged) if "seems to refuse" in line]) == 1


def test_card_of_a_second_machine_is_told_in_a_run(place: Place, logged: list[str], eve: Identity) -> None:
    place.publish(eve, PEER)
    trust = place.trust()
    trust.claim(APP)
    trust.publish(APP, [PEER])
    place.publish(place.other)
    for _ in range(10):
        place.clock.advance(31)
        trust.identity_of(PEER)
    (line,) = lines(logged)
    assert line.startswith("ERROR")
    assert f"another machine publishes keys as {ME}" in line
    assert place.other.public.fingerprint in line


def copied(place: Place, folder: Path) -> Place:
    """Return another home with the same keys, a copy of the one of ``place``, over the same public files."""
    copy = Place(folder, place.mine, place.other)
    copy.network, copy.clock = place.network, place.clock
    shutil.copy(place.home / "peers.db", folder / "peers.db")
    return copy


def started(place: Place, role: Role) -> tuple[Trust, Pulse]:
    trust = place.trust()
    trust.claim(APP)
    trust.publish(APP, [PEER])
    pulse = Pulse(Endpoint(place.network.transport(ME), trust, APP, encryption=True, clock=place.clock), role, [PEER])
    pulse.beat()
    return trust, pulse


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("first_start", ["before", "never"])
def test_copied_home_is_refused_while_the_other_runs(
    place: Place, tmp_path: Path, logged: list[str], role: Role, first_start: str
) -> None:
    trust, pulse = started(place, role)
    if first_start == "before":
        # The copy was used while the first one was stopped, and this one started again later.
        pulse.stop()
    trust.close()
    copy = copied(place, tmp_path / "copy")
    if first_start == "before":
        started(copy, role)[1].stop()
        place.clock.advance(1)
        started(place, role)

    with pytest.raises(StoreError, match=f"another machine takes part as {ME} now.* has the same keys") as caught:
        copy.trust().claim(APP)

    assert str(copy.home) in str(caught.value)
    assert "Stop syft-flwr there" in caught.value.hint
    assert lines(logged) == []
    place.clock.advance(8 * 60)
    copy.trust().claim(APP)


@pytest.mark.parametrize("role", ROLES)
def test_copy_that_starts_is_told_to_the_running_one(
    place: Place, tmp_path: Path, logged: list[str], role: Role
) -> None:
    """No heartbeat of the first one had arrived at the second one, which has a database of its own."""
    _, first = started(place, role)
    place.clock.advance(1)
    second = Place(tmp_path / "second", place.mine, place.other)
    second.network, second.clock = MemoryNetwork(), place.clock
    (trust, later), name = started(second, role), heartbeat_name(APP, role, ME)
    assert trust.other_fingerprint() == ""

    for _ in range(20):
        for here, pulse, there in ((place, first, second), (second, later, place)):
            place.clock.advance(31)
            pulse.beat()
            there.write(name, here.network.transport(ME).get(name, max_size=1 << 20))

    found = [line for line in lines(logged) if f"takes part as {ME} with the same keys" in line]
    assert len(lines(logged)) == len(found)
    for home in (place.home, second.home):
        told = [line for line in found if f"copy of {home}." in line]
        assert 1 <= len(told) <= 3, "each of the two is told, at most once in ten minutes"


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("lost", ["nothing", "peers.db"])
def test_old_heartbeats_of_this_home_are_no_copy(place: Place, logged: list[str], role: Role, lost: str) -> None:
    """After a kill, and when a sync service or a backup brings an old file back."""
    name, old = heartbeat_name(APP, role, ME), list[bytes]()
    for _ in range(3):
        trust, pulse = started(place, role)
        for _ in range(2):
            place.clock.advance(61)
            pulse.beat()
            old.append(place.network.transport(ME).get(name, max_size=1 << 20))
        trust.close()
        if lost == "peers.db":
            for path in place.home.glob("peers.db*"):
                path.unlink()
        place.clock.advance(1)
    trust, pulse = started(place, role)
    for data in (*old, *reversed(old)):
        place.write(name, data)
        place.clock.advance(31)
        pulse.beat()
    assert lines(logged) == []


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(
    ("first", "second"), [(timedelta(), timedelta(days=-365)), (timedelta(hours=1), timedelta())], ids=["back", "fast"]
)
def test_heartbeat_by_a_wrong_clock_is_no_copy(
    place: Place, logged: list[str], role: Role, first: timedelta, second: timedelta
) -> None:
    """The clock is wrong by ``first`` or ``second`` at the two starts, and corrected afterwards."""
    name = heartbeat_name(APP, role, ME)
    place.clock.set_wall_clock_back(-first.total_seconds())
    trust, _ = started(place, role)
    old = place.network.transport(ME).get(name, max_size=1 << 20)
    trust.close()
    place.clock.advance(60)
    place.clock.set_wall_clock_back((first - second).total_seconds())
    _, pulse = started(place, role)
    place.clock.set_wall_clock_back(second.total_seconds())
    place.clock.advance(61)
    pulse.beat()

    place.write(name, old)
    place.clock.advance(31)
    pulse.beat()

    assert lines(logged) == []


def test_next_client_of_a_process_is_no_copy(place: Place, logged: list[str]) -> None:
    """A data owner that stays begins a session for each run, and its heartbeat stays in between."""
    trust, first = started(place, "data-owner")
    endpoint = Endpoint(place.network.transport(ME), trust, APP, encryption=True, clock=place.clock)
    for pulse in (first, Pulse(endpoint, "data-owner", [PEER]), Pulse(endpoint, "data-owner", [PEER])):
        for _ in range(10):
            place.clock.advance(61)
            pulse.beat()
    assert lines(logged) == []


def test_list_of_peers_shows_a_card_with_other_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ben: Identity
) -> None:
    path = tmp_path / "box" / "datasites" / names.card(ME)
    path.parent.mkdir(parents=True)
    path.write_bytes(write_card(ME, ben))
    for name, value in {
        "SYFTBOX_EMAIL": ME,
        "SYFTBOX_FOLDER": str(tmp_path / "box"),
        "SYFT_FLWR_HOME": str(tmp_path / "home"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    shown = CliRunner().invoke(cli, ["peers"]).stdout
    found = json.loads(CliRunner().invoke(cli, ["peers", "--format", "json"]).stdout)

    assert f"a key card with other keys, fingerprint {ben.public.fingerprint}" in shown
    assert found["published-fingerprint"] == ben.public.fingerprint
    assert path.read_bytes() == write_card(ME, ben)


@pytest.mark.parametrize("command", ["server", "client"])
def test_start_beside_another_machine_ends_with_two_lines(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ben: Identity
) -> None:
    email, role = (PEER, ROLES[0]) if command == "server" else (ME, ROLES[1])
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(
        '[tool.flwr.app.components]\nserverapp = "trial_app:server"\nclientapp = "trial_app:client"\n'
        f'[tool.syft_flwr]\napp_name = "app"\naggregator = "{PEER}"\ndatasites = ["{ME}"]\n'
    )
    (project / "trial_app.py").write_text(
        "from flwr.clientapp import ClientApp\nfrom flwr.serverapp import ServerApp\n"
        "client, server = ClientApp(), ServerApp()\n"
    )
    now = datetime.now(UTC)
    written = {
        names.card(email): write_card(email, ben),
        heartbeat_name(APP, role, email): Heartbeat(role, email, "app", 1, 1, now).encode(ben),
    }
    for name, data in written.items():
        path = tmp_path / "box" / "datasites" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for name, value in {
        "SYFTBOX_EMAIL": email,
        "SYFTBOX_FOLDER": str(tmp_path / "box"),
        "SYFT_FLWR_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)

    done = CliRunner().invoke(cli, [command, str(project)])

    assert done.exit_code == 1, done.output
    error, hint = done.stderr.splitlines()[-2:]
    assert f"Error: another machine takes part as {email} now" in error
    assert "Stop syft-flwr there" in hint
    for name, data in written.items():
        assert (tmp_path / "box" / "datasites" / name).read_bytes() == data
    # No run was begun, so the next start does not continue one.
    assert not list((tmp_path / "home").rglob("*.jsonl"))
