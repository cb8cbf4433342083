"""Permission files of the user that keep peers from messages are found, with the rules to add."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from running_daemon import RunningDaemon

from syft_flwr.config import load_settings
from syft_flwr.emulators.syftbox.acl import Level, Permissions, parse_rules
from syft_flwr.names import AppNames
from syft_flwr.transport._syftbox.permission_check import Need, missing_permissions, needs_of
from syft_flwr.transport._syftbox.permissions import MAX_SIZE, PERMISSIONS
from syft_flwr.transport._syftbox.start_checks import check_syftbox
from syft_flwr.transport.syftbox import SyftBoxTransport

ME, DS, OTHER = "do1@hospital-a.org", "ds@research.org", "ds2@research.org"
APP = AppNames("trial")
OPEN = "rules:\n- {pattern: '**', access: {read: ['*'], write: ['*']}}\n"
CLOSED = "rules:\n- {pattern: '**', access: {read: [], write: []}}\n"
TERMINAL = "terminal: true\n" + CLOSED
NEEDS = needs_of(ME, [DS, OTHER], APP, answers=True)
#: The folders of an app and those above them.
FOLDERS = [need.folder for need in NEEDS] + [ME, f"{ME}/app_data", f"{ME}/app_data/flwr/trial"]


@pytest.fixture
def datasites(tmp_path: Path) -> Path:
    return tmp_path / "SyftBox" / "datasites"


def write(datasites: Path, folder: str, text: str) -> Path:
    path = datasites / folder / PERMISSIONS
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def write_ours(datasites: Path) -> None:
    """Write the permission files as a data owner does that starts."""
    transport = SyftBoxTransport(datasites.parent, ME)
    transport.put(f"{ME}/public/syft_flwr.json", b"card", readers=["*"])
    for folder in (APP.objects(ME), APP.status(ME)):
        transport.prepare(folder, [DS, OTHER])
    transport.open_inbox(APP.inbox(ME))
    transport.close()


def refused(datasites: Path) -> set[tuple[str, str]]:
    """Return the uses that the server of SyftBox refuses, as names and users."""
    permissions = Permissions(faithful=True)
    for path in datasites.rglob(PERMISSIONS):
        permissions.put(str(path.parent.relative_to(datasites)), parse_rules(path.read_bytes(), str(path)))
    uses = [use for need in NEEDS for use in need.uses]
    return {(name, user) for name, user, level in uses if not permissions.allow(user, name, Level[level.upper()])}


def texts(datasites: Path, needs: list[Need] = NEEDS) -> list[str]:
    return [error.diagnose() for error in missing_permissions(datasites, needs)]


def add_lines(text: str) -> Path:
    """Do as the hint says; return the file."""
    path = Path(text.partition(" is your own file")[0])
    lines = text.partition("then start again:\n")[2]
    document = yaml.safe_load(path.read_text())
    document["rules"] = [*(document.get("rules") or []), *yaml.safe_load(lines)]
    path.write_text(yaml.safe_dump(document))
    return path


def test_files_of_this_program_give_all_rights(datasites: Path) -> None:
    assert texts(datasites) == []
    write_ours(datasites)
    assert refused(datasites) == set()
    assert texts(datasites) == []


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("text", [CLOSED, TERMINAL, "terminal: true\n", OPEN])
def test_shown_lines_give_the_missing_rights(datasites: Path, folder: str, text: str) -> None:
    path = write(datasites, folder, text)
    write_ours(datasites)
    assert path.read_text() == text

    shown = texts(datasites)

    assert bool(shown) == bool(refused(datasites))
    assert len(shown) <= 1
    for one in shown:
        assert DS in one
        assert OTHER in one
        assert add_lines(one) == path
    assert refused(datasites) == set()
    assert texts(datasites) == []


@pytest.mark.parametrize(
    "rule",
    [
        "{pattern: 'syft_flwr.json', access: {read: ['*']}}",
        "{pattern: '*.json', access: {admin: ['*@research.org']}}",
        "{pattern: '{a,syft_flwr}.js*', access: {read: [%s, %s]}}" % (DS, OTHER),  # noqa: UP031
    ],
)
def test_sufficient_rules_of_the_user_are_no_finding(datasites: Path, rule: str) -> None:
    write(datasites, f"{ME}/public", f"rules: [{rule}]")
    write_ours(datasites)
    assert refused(datasites) == set()
    assert texts(datasites) == []


def test_rule_that_the_server_compares_as_text_is_insufficient(datasites: Path) -> None:
    write(datasites, f"{ME}/public", "rules: [{pattern: '{a,syft_flwr}.json', access: {read: ['*']}}]")
    assert refused(datasites) >= {(f"{ME}/public/syft_flwr.json", DS)}
    assert len(texts(datasites)) == 1


def test_only_the_peer_without_rights_is_named(datasites: Path) -> None:
    write(datasites, f"{ME}/public", f"rules: [{{pattern: '**', access: {{read: [{DS}]}}}}]")
    (shown,) = texts(datasites)
    assert f"gives {OTHER} no access" in shown


def make_link(path: Path) -> None:
    path.symlink_to(path.with_name("other.yaml"))


def make_invalid(path: Path) -> None:
    path.write_text("rules: [")


def make_wrong(path: Path) -> None:
    path.write_text("rules: [{pattern: '**'}]")


def make_scalar(path: Path) -> None:
    path.write_text("rules: [{pattern: '**', access: {read: me}}]")


def make_deep(path: Path) -> None:
    path.write_text("[" * 100_000)


def make_huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 30)


@pytest.mark.parametrize("make", [make_link, make_invalid, make_wrong, make_scalar, make_deep, make_huge, Path.mkdir])
def test_thing_in_place_of_permissions_is_named(datasites: Path, make: Callable[[Path], None]) -> None:
    folder = datasites / APP.status(ME)
    folder.mkdir(parents=True)
    make(folder / PERMISSIONS)

    (shown,) = texts(datasites)

    assert shown.startswith(f"{folder / PERMISSIONS} is not written by syft-flwr and has no valid rules")
    assert "Move it away" in shown


@pytest.mark.parametrize("value", ["!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "2026-99-99", "{[a]: b}"])
def test_value_that_its_tag_does_not_fit_is_named(datasites: Path, value: str) -> None:
    write(datasites, f"{ME}/public", f"{OPEN}other: {value}\n")
    assert "has no valid rules" in texts(datasites)[0]


def test_largest_file_is_read_without_a_long_wait(datasites: Path) -> None:
    """The loader in Python takes 50 seconds for it."""
    rule = "- {pattern: 'abc', access: {read: ['b']}}\n"
    write(datasites, f"{ME}/public", "rules:\n" + rule * ((MAX_SIZE - 100) // len(rule)))
    before = time.process_time()
    assert "is your own file" in texts(datasites)[0]
    assert time.process_time() - before < 20


def test_aggregator_needs_no_inbox(datasites: Path) -> None:
    write(datasites, APP.inbox(ME).rstrip("/"), CLOSED)
    assert texts(datasites, needs_of(ME, [DS], APP, answers=False)) == []
    assert len(texts(datasites)) == 1


@pytest.mark.parametrize("role", ["client", "server"])
def test_start_says_which_rules_to_add(tmp_path: Path, role: str, logged: list[str]) -> None:
    aggregator, datasite = (DS, ME) if role == "client" else (ME, DS)
    with RunningDaemon(tmp_path / "me", ME) as daemon:
        path = write(daemon.datasite.parent, APP.status(ME), CLOSED)
        settings = load_settings(
            environ=daemon.environment, app_name="trial", aggregator=aggregator, datasites=[datasite]
        )
        check_syftbox(settings, [DS])
    (line,) = [line for line in logged if PERMISSIONS in line]
    assert line.startswith("WARNING")
    assert f"{path} is your own file, and gives {DS} no access" in line
    assert f"  - pattern: '**/*.request'\n    access:\n      read: ['{DS}']\n" in line
