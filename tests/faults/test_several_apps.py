"""Shows that one client process can serve several apps: their data never mixes, and each app ends with its own run."""

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from faultkit.federation import OWNERS, Federation, answer_of
from faultkit.journal import Journal
from faultkit.machine import Machine
from faultkit.storage import FolderStorage
from waiting import PATIENCE, eventually

OWNER = OWNERS[0]
OTHER_APP = "others"


@pytest.fixture
def machine(tmp_path: Path, folder: FolderStorage) -> Iterator[Machine]:
    with ExitStack() as stack:
        machine = Machine(tmp_path / "machines", OWNER, folder.data_dir)
        stack.callback(machine.close)
        yield machine


@pytest.fixture
def other_project(machine: Machine) -> Path:
    """Return a second project of the same data owner. Its app has a journal of its own."""
    folder = machine.project.with_name("other")
    shutil.copytree(machine.project, folder)
    text = (folder / "pyproject.toml").read_text()
    text = text.replace('app_name = "faults"', f'app_name = "{OTHER_APP}"')
    text = text.replace(json.dumps(str(machine.journal.path)), json.dumps(f"{machine.journal.path}-other"))
    (folder / "pyproject.toml").write_text(text)
    return folder


@pytest.fixture
def federations(tmp_path: Path, folder: FolderStorage, machine: Machine) -> Iterator[tuple[Federation, Federation]]:
    """Return the federations of both apps, with the same aggregator."""
    with (
        Federation(tmp_path / "homes", folder, [OWNER]) as one,
        Federation(tmp_path / "homes", folder, [OWNER], app=OTHER_APP) as other,
    ):
        yield one, other


def test_parallel_runs_of_two_apps_do_not_mix(
    federations: tuple[Federation, Federation], machine: Machine, other_project: Path
) -> None:
    one, other = federations
    process = machine.start("client", str(machine.project), str(other_project))
    one.begin_run()
    other.begin_run()

    first = [answer_of(one.ask()[0]), answer_of(one.ask()[0])]
    second = [answer_of(other.ask()[0])]

    # Each app has its own worker and its own state.
    assert [answer["messages"] for answer in (*first, *second)] == [1, 2, 1]
    assert first[0]["process"] == first[1]["process"] != second[0]["process"]
    assert len(machine.journal.calls) == 2
    assert len(Journal(Path(f"{machine.journal.path}-other")).calls) == 1
    home = machine.root / OWNER / "state" / OWNER
    for app, messages in ((one.app, 2), (OTHER_APP, 1)):
        with closing(sqlite3.connect(home / "apps" / app / "ledger.db")) as ledger:
            assert ledger.execute("SELECT count(*) FROM received WHERE type = 'query'").fetchone() == (messages,)

    # The end of one run ends only the app of that run.
    other.grid.send_stop_signal()
    other.close_grid()
    assert answer_of(one.ask()[0])["messages"] == 3
    assert process.poll() is None
    one.grid.send_stop_signal()
    one.close_grid()
    assert process.wait(PATIENCE) == 0


def test_one_unservable_app_fails_only_the_command(
    federations: tuple[Federation, Federation], machine: Machine, other_project: Path
) -> None:
    one, _ = federations
    second = Machine(machine.root / "second", OWNER, machine.data_dir)
    (second.root / OWNER / "state").symlink_to(machine.root / OWNER / "state")
    (machine.root / OWNER / "state").mkdir()
    try:
        alone = second.start("client", str(other_project))
        lock = machine.root / OWNER / "state" / OWNER / "apps" / OTHER_APP / "client.lock"
        eventually(lambda: lock.exists() and lock.read_text().split()[:1] == [str(alone.pid)], "the first client")

        process = machine.start("client", str(machine.project), str(other_project))
        one.begin_run()
        assert answer_of(one.ask()[0])["messages"] == 1
        one.grid.send_stop_signal()
        one.close_grid()

        assert process.wait(PATIENCE) == 1
        assert f"already running in process {alone.pid}" in machine.log.read_text()
        assert alone.poll() is None
    finally:
        second.close()


def test_kept_client_keeps_each_app(
    federations: tuple[Federation, Federation], machine: Machine, other_project: Path
) -> None:
    one, other = federations
    process = machine.start("client", "--keep", str(machine.project), str(other_project))
    other.begin_run()
    for _ in range(2):
        one.begin_run()
        assert answer_of(one.ask()[0])["messages"] == 1
        one.grid.send_stop_signal()
        one.close_grid()
    assert answer_of(other.ask()[0])["messages"] == 1
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    other.close_grid()


def test_two_projects_with_one_app_name_are_refused(machine: Machine) -> None:
    process = machine.start("client", str(machine.project), str(machine.project))
    assert process.wait(PATIENCE) == 2
    assert "each project needs a name of its own" in machine.log.read_text()


def test_sigterm_ends_every_app(
    federations: tuple[Federation, Federation], machine: Machine, other_project: Path
) -> None:
    one, other = federations
    process = machine.start("client", str(machine.project), str(other_project))
    one.begin_run()
    other.begin_run()
    (message_id,) = one.push("never_end_the_first_time")
    assert answer_of(other.ask()[0])["messages"] == 1
    machine.journal.wait_for_call(message_id)

    os.kill(process.pid, signal.SIGTERM)

    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    one.close_grid()
    other.close_grid()
