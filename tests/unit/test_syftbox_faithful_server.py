"""The faithful SyftBox emulator: the server, its store and index, and who may do what."""

import pytest
from faithful_syftbox import BOX, DO, DS, OTHER, Machines, Start
from waiting import eventually

from syft_flwr.emulators.syftbox import SyncOutcome
from syft_flwr.emulators.syftbox.acl import Level, Permissions, parse_rules
from syft_flwr.emulators.syftbox.faithful import Window

MESSAGE = f"{BOX}/a.request"
FILE = f"{BOX}/a.blob"
OWN = f"{DO}/public/a.txt"


def test_file_put_while_the_store_is_listed_disappears(machines: Machines) -> None:
    rebuilt = machines.rebuild()
    with machines.world.hold("", Window.LISTING) as held:
        rebuilt.start()
        held.wait()
        machines.push(DS, MESSAGE)
        machines.arrives(DO, MESSAGE)
        machines.is_stored(MESSAGE)
    rebuilt.join()

    assert MESSAGE in machines.world.stored()
    machines.scan(DO)
    assert not machines.has(DO, MESSAGE)
    machines.world.rebuild_index()
    machines.scan(DO)
    assert machines.has(DO, MESSAGE)


def test_file_deleted_while_the_store_is_listed_comes_back(machines: Machines) -> None:
    machines.push(DS, MESSAGE)
    machines.is_stored(MESSAGE)
    rebuilt = machines.rebuild()
    with machines.world.hold("", Window.LISTING) as held:
        rebuilt.start()
        held.wait()
        machines.at(DS, MESSAGE).unlink()
        machines.scan(DS)
        assert MESSAGE not in machines.world.stored()
    rebuilt.join()

    assert MESSAGE in machines.world.indexed()


def test_index_is_rebuilt_by_itself(start_faithful: Start) -> None:
    machines = start_faithful(scan_interval=0.002)
    machines.push(DS, MESSAGE)
    machines.is_stored(MESSAGE)
    machines.world._server.index.clear()

    machines.is_stored(MESSAGE)


def test_server_restart_keeps_files_and_permissions(machines: Machines) -> None:
    machines.push(DS, MESSAGE)
    machines.is_stored(MESSAGE)
    machines.world.stop_server()
    assert machines.scan(DS) == 0
    assert machines.world.failure(DS) == "ServerDownError"

    machines.world.start_server()
    machines.connected(DS, DO)
    machines.push(DS, f"{BOX}/b.request")

    machines.arrives(DO, f"{BOX}/b.request")
    assert MESSAGE in machines.world.indexed()


def test_cycle_survives_a_short_stop_of_the_server(machines: Machines) -> None:
    machines.put(DO, OWN)
    with machines.cycle_at(DO, Window.BEFORE_CYCLE):
        machines.world.stop_server()
        machines.world.start_server()

    assert OWN in machines.world.stored()


def test_server_stop_loses_pushes_on_their_way_to_the_store(machines: Machines) -> None:
    with machines.world.hold(DS, Window.PUT, MESSAGE) as held:
        machines.push(DS, MESSAGE)
        held.wait()
        machines.world.stop_server()
    machines.world.start_server()

    machines.scan(DS)

    assert not machines.has(DS, MESSAGE)


def test_server_stop_in_an_upload_is_a_strike(machines: Machines) -> None:
    machines.put(DO, OWN)
    with machines.world.hold(DO, Window.UPLOAD, OWN) as held:
        machines.world.set_automatic(True, DO)
        held.wait()
        machines.world.stop_server()
        eventually(lambda: not held.names, "the end of the upload")
    machines.world.start_server()

    machines.is_stored(OWN)


def test_client_without_a_server_does_not_start(machines: Machines) -> None:
    machines.world.kill(DO)
    machines.world.stop_server()

    assert not machines.world.restart(DO)
    assert machines.world.failure(DO) == "ServerDownError"

    machines.world.start_server()
    assert machines.world.restart(DO)


def test_store_that_stands_still_stops_uploads_and_downloads(machines: Machines) -> None:
    machines.put(DO, FILE)
    machines.scan(DO)
    machines.put(DO, OWN)
    machines.store.stop()
    machines.world.set_automatic(True)
    eventually(lambda: machines.world._daemon(DS).files.status.is_left_out(FILE), "the download to begin")
    eventually(lambda: machines.world._daemon(DO).files.status.is_left_out(OWN), "the upload to begin")
    assert OWN not in machines.world.stored()
    assert not machines.has(DS, FILE)

    machines.store.resume()

    machines.is_stored(OWN)
    machines.arrives(DS, FILE)


def test_calls_to_a_stopped_store_end_after_their_time(start_faithful: Start) -> None:
    machines = start_faithful(scan_interval=0.005)
    machines.put(DO, FILE)
    machines.scan(DO)
    machines.store.stop()
    machines.put(DO, OWN)

    for email in (DO, DO, DO, DS, DS, DS):
        machines.scan(email)

    assert machines.world.excluded(DO) == {OWN}
    assert machines.world.excluded(DS) == {FILE}


def test_stopped_store_loses_a_push_after_its_time(start_faithful: Start) -> None:
    machines = start_faithful(scan_interval=0.005)
    machines.store.stop()
    machines.push(DS, MESSAGE)
    machines.handled(DS)
    eventually(machines.world._server.is_idle, "the end of the attempts")
    machines.store.resume()

    machines.scan(DS)

    assert not machines.has(DS, MESSAGE)


@pytest.mark.parametrize("segment", ["api", "API", ".well-known", "_internal"])
def test_reserved_segments_are_refused_on_upload(machines: Machines, segment: str) -> None:
    name = f"{BOX}/{segment}/a.blob"
    machines.at(DO, name).parent.mkdir()
    machines.put(DO, name)

    machines.scan(DO)

    assert machines.outcomes(name, SyncOutcome.REFUSED) == 1
    assert machines.has(DO, f"{BOX}/{segment}/a.rejected.blob")


def test_reserved_segments_are_not_checked_on_a_push(machines: Machines) -> None:
    name = f"{BOX}/api/a.request"
    for email in (DS, DO):
        machines.at(email, name).parent.mkdir()
    machines.put(DO, f"{BOX}/api/syft.pub.yaml", b"rules:\n- pattern: '**'\n  access: {write: ['*']}\n")
    machines.scan(DO)

    machines.wait_for_watches(DS, f"{BOX}/api")
    machines.push(DS, name)

    machines.arrives(DO, name)


def test_owner_is_decided_by_prefix(start_faithful: Start) -> None:
    eve = "do@y.or"
    machines = start_faithful((DS, DO, eve))
    private = f"{DO}/private.txt"
    machines.put(DO, private)
    machines.scan(DO)

    machines.scan(eve)
    assert machines.has(eve, private)
    machines.put(eve, f"{DO}/planted.txt")
    machines.at(eve, private).unlink()
    machines.scan(eve)
    machines.scan(DO)

    assert machines.has(DO, f"{DO}/planted.txt")
    assert not machines.has(DO, private)


@pytest.mark.parametrize(
    ("user", "owner"), [("a{b@x.org", "do@y.org"), ("a{b}@x.org", "do@y.org"), ("ds@x.org", "d{o}@y.org")]
)
def test_braces_in_an_email_let_no_request_in(user: str, owner: str) -> None:
    rules = b"rules:\n- pattern: '**/{{.UserEmail}}/*.request'\n  access: {write: [USER]}\n"
    careful, faithful = Permissions(), Permissions(faithful=True)
    for permissions in (careful, faithful):
        permissions.put(f"{owner}/rpc", parse_rules(rules, "syft.pub.yaml"))

    assert careful.allow(user, f"{owner}/rpc/{user}/a.request", Level.WRITE)
    assert not faithful.allow(user, f"{owner}/rpc/{user}/a.request", Level.WRITE)


def test_patterns_without_wildcards_are_text_in_faithful_mode() -> None:
    faithful = Permissions(faithful=True)
    faithful.put("do@y.org", parse_rules(b"rules:\n- pattern: 'a.txt'\n  access: {read: ['*']}\n", "syft.pub.yaml"))

    assert faithful.allow(DS, "do@y.org/a.txt", Level.READ)
    assert not faithful.allow(DS, "do@y.org/b.txt", Level.READ)
    assert not faithful.allow(DS, "do@y.org/syft.pub.yaml", Level.READ)


def test_all_that_may_read_a_file_get_it(machines: Machines) -> None:
    machines.put(DO, OWN)
    machines.put(DO, FILE)
    machines.network.settle()

    assert machines.has(OTHER, OWN)
    assert machines.has(DS, OWN)
    assert machines.has(DS, FILE)
    assert not machines.has(OTHER, FILE)
