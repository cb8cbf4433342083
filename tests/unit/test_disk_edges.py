"""Troubles with folders end as two lines: what and where, then what to do. No command shows a traceback of ours."""

import errno
import fcntl
import os
import pwd
import re
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from syft_flwr.cli.app import app
from syft_flwr.config import load_settings
from syft_flwr.disk_errors import told
from syft_flwr.errors import ConfigError, StorageError, StorageFullError, StoreError, TransportError
from syft_flwr.fl_orchestrator.participant import open_participant
from syft_flwr.locks import ProcessLock
from syft_flwr.transport.syftbox import SyftBoxTransport

DS, DO = "ds@x.org", "do@x.org"
PROJECT = f"""\
[project]
name = "trial"
version = "1.0.0"

[tool.flwr.app.components]
serverapp = "app:server"
clientapp = "app:client"

[tool.syft_flwr]
app_name = "trial"
aggregator = "{DS}"
datasites = ["{DO}"]
"""
APP = """\
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client, server = ClientApp(), ServerApp()


@server.main()
def main(grid, context):
    pass
"""
Result = tuple[int, list[str]]
Prepare = Callable[["Machine"], None]


class Machine:
    """A participant with a project, a home and a SyftBox data folder, before a command starts."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.home, self.data, self.project = folder / "home", folder / "box", folder / "project"
        self.data.mkdir()
        self.project.mkdir()
        (self.project / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
        (self.project / "app.py").write_text(APP, encoding="utf-8")
        self.place: Path | bytes = self.project
        self.set("SYFTBOX_EMAIL", DS)
        self.set("SYFTBOX_FOLDER", str(self.data))
        self.set("SYFT_FLWR_HOME", str(self.home))
        self.set("HOME", str(folder / "person"))

    def set(self, name: str, value: str) -> None:
        self.monkeypatch.setenv(name, value)

    def fail(self, module: Any, function: str, number: int, below: Path | None = None) -> None:
        """Let a call of the operating system fail with the error ``number``, for paths below a folder or always."""
        real = getattr(module, function)

        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if below is None or str(path).startswith(str(below)):
                raise OSError(number, os.strerror(number), path if below else None)
            return real(path, *arguments, **options)

        self.monkeypatch.setattr(module, function, call)

    def make_read_only(self, folder: Path) -> None:
        """Refuse each write below a folder, as a file system does that is mounted read-only."""
        self.fail(os, "mkdir", errno.EROFS, folder)
        real = os.open

        def open_(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR) and str(path).startswith(str(folder)):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
            return real(path, flags, *arguments, **options)

        self.monkeypatch.setattr(os, "open", open_)

    def run(self, command: str) -> Result:
        words = {
            "server": ["server", self.place],
            "client": ["client", self.place],
            "run": ["run", self.place, "-m", str(self.folder)],
            "config": ["config", "show", self.place],
            "peers": ["peers"],
        }.get(command, [command, self.place])
        if command == "client":
            self.set("SYFTBOX_EMAIL", DO)
        result = CliRunner().invoke(app, [os.fsdecode(word) for word in words])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, [line for line in result.stderr.splitlines() if line]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    for name in list(os.environ):
        if name.startswith(("SYFT", "GDRIVE")) or name in {"DATA_DIR", "OUTPUT_DIR"}:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Machine(tmp_path, monkeypatch)


def home_is_empty(machine: Machine) -> None:
    machine.set("HOME", "")
    machine.monkeypatch.delenv("SYFT_FLWR_HOME")


def home_is_relative(machine: Machine) -> None:
    machine.set("HOME", "person")
    machine.monkeypatch.delenv("SYFT_FLWR_HOME")


def no_home(machine: Machine) -> None:
    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    machine.monkeypatch.delenv("HOME")
    machine.monkeypatch.delenv("SYFT_FLWR_HOME")
    machine.monkeypatch.setattr(pwd, "getpwuid", unknown)


def home_is_read_only(machine: Machine) -> None:
    machine.make_read_only(machine.home)


def home_is_a_file(machine: Machine) -> None:
    machine.home.write_text("x")


def home_is_a_loop(machine: Machine) -> None:
    machine.home.symlink_to(machine.home)


def person_is_a_file(machine: Machine) -> None:
    machine.monkeypatch.delenv("SYFT_FLWR_HOME")
    (machine.folder / "person").write_text("x")


def home_has_no_locks(machine: Machine) -> None:
    machine.fail(fcntl, "flock", errno.ENOLCK)


def home_supports_no_locks(machine: Machine) -> None:
    machine.fail(fcntl, "flock", errno.EOPNOTSUPP)


def home_keeps_no_modes(machine: Machine) -> None:
    real = os.stat

    def open_to_all(path: Any, **options: Any) -> os.stat_result:
        found = real(path, **options)
        fields = list(found)
        fields[0] |= 0o777 if str(path).startswith(str(machine.home)) else 0
        return os.stat_result(fields)

    machine.monkeypatch.setattr(os, "stat", open_to_all)


def home_refuses_chmod(machine: Machine) -> None:
    machine.fail(os, "chmod", errno.EPERM, machine.home)


def home_is_full(machine: Machine) -> None:
    machine.fail(os, "mkdir", errno.ENOSPC, machine.home)


def home_is_foreign(machine: Machine) -> None:
    (machine.home / DS / "apps").mkdir(parents=True)
    (machine.home / DO / "apps").mkdir(parents=True)
    machine.fail(os, "mkdir", errno.EACCES, machine.home)
    machine.fail(os, "listdir", errno.EACCES, machine.home)
    machine.fail(os, "scandir", errno.EACCES, machine.home)
    machine.make_read_only(machine.home)


def data_is_read_only(machine: Machine) -> None:
    machine.make_read_only(machine.data)


def data_is_full(machine: Machine) -> None:
    machine.fail(os, "mkdir", errno.ENOSPC, machine.data)


def data_has_a_long_name(machine: Machine) -> None:
    machine.set("SYFTBOX_FOLDER", str(machine.folder / ("a" * 300)))


def staging_is_a_file(machine: Machine) -> None:
    (machine.data / ".syft_flwr_staging").write_text("x")


def staging_is_a_broken_link(machine: Machine) -> None:
    (machine.data / ".syft_flwr_staging").symlink_to(machine.folder / "nowhere")


def datasites_is_a_broken_link(machine: Machine) -> None:
    (machine.data / "datasites").symlink_to(machine.folder / "nowhere")


def datasites_is_a_loop(machine: Machine) -> None:
    (machine.data / "datasites").symlink_to(machine.data / "datasites")


def datasites_is_a_file(machine: Machine) -> None:
    (machine.data / "datasites").write_text("x")


def datasites_are_links(machine: Machine) -> None:
    for email in (DS, DO):
        (machine.folder / email).mkdir()
        (machine.data / "datasites").mkdir(exist_ok=True)
        (machine.data / "datasites" / email).symlink_to(machine.folder / email)


def peer_is_a_link(machine: Machine) -> None:
    (machine.data / "datasites").mkdir()
    (machine.data / "datasites" / DO).symlink_to(machine.folder)


def app_data_is_a_link(machine: Machine) -> None:
    for email in (DS, DO):
        (machine.data / "datasites" / email).mkdir(parents=True)
        (machine.data / "datasites" / email / "app_data").symlink_to(machine.folder)


def public_is_a_file(machine: Machine) -> None:
    for email in (DS, DO):
        (machine.data / "datasites" / email).mkdir(parents=True)
        (machine.data / "datasites" / email / "public").write_text("x")


def project_is_not_utf_8(machine: Machine) -> None:
    machine.place = os.fsencode(machine.folder) + b"/caf\xe9"
    shutil.move(machine.project, machine.place)


def project_is_a_loop(machine: Machine) -> None:
    shutil.rmtree(machine.project)
    machine.project.symlink_to(machine.project)


def pyproject_is_unreadable(machine: Machine) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("pyproject.toml"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, flags, *arguments, **options)

    machine.monkeypatch.setattr(os, "open", refuse)


def pyproject_is_a_folder(machine: Machine) -> None:
    (machine.project / "pyproject.toml").unlink()
    (machine.project / "pyproject.toml").mkdir()


def project_is_read_only(machine: Machine) -> None:
    machine.fail(os, "mkdir", errno.EROFS, machine.project)
    real = os.open

    def refuse(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_CREAT and "main.py" in str(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return real(path, flags, *arguments, **options)

    machine.monkeypatch.setattr(os, "open", refuse)


def output_is_not_utf_8(machine: Machine) -> None:
    folder = os.fsencode(machine.folder) + b"/cur\xe9"
    os.mkdir(folder)
    machine.monkeypatch.chdir(folder)


def current_folder_is_gone(machine: Machine) -> None:
    gone = machine.folder / "gone"
    gone.mkdir()
    machine.monkeypatch.chdir(gone)
    gone.rmdir()


def no_temporary_folder(machine: Machine) -> None:
    machine.monkeypatch.setattr(tempfile, "tempdir", str(machine.folder / "nowhere"))


NEEDS_A_HOME = ("server", "client", "peers")
NEEDS_THE_DATA = (*NEEDS_A_HOME, "gc")
STARTS = ("server", "client")
ALL = ("server", "client", "run", "runs", "config", "bootstrap", "gc", "peers")
OF_A_PROJECT = tuple(name for name in ALL if name != "peers")
#: Each trouble: the commands that it stops, a part of the first line, and a part of the second one.
TROUBLES: list[tuple[Prepare, tuple[str, ...], str, str]] = [
    (no_home, ALL, "has no home folder", "SYFT_FLWR_HOME"),
    (home_is_empty, ALL, "HOME is ''", "SYFT_FLWR_HOME"),
    (home_is_relative, ALL, "HOME is 'person'", "SYFT_FLWR_HOME"),
    (home_is_read_only, NEEDS_A_HOME, "Read-only file system", "SYFT_FLWR_HOME"),
    (home_is_a_file, NEEDS_A_HOME, "Not a directory", "SYFT_FLWR_HOME"),
    (home_is_a_loop, NEEDS_A_HOME, "levels of symbolic links", "SYFT_FLWR_HOME"),
    (person_is_a_file, NEEDS_A_HOME, "Not a directory", "SYFT_FLWR_HOME"),
    (home_has_no_locks, NEEDS_A_HOME, "has no locks", "SYFT_FLWR_HOME"),
    (home_supports_no_locks, NEEDS_A_HOME, "has no locks", "SYFT_FLWR_HOME"),
    (home_keeps_no_modes, NEEDS_A_HOME, "keeps no permissions", "SYFT_FLWR_HOME"),
    (home_refuses_chmod, NEEDS_A_HOME, "keeps no permissions", "SYFT_FLWR_HOME"),
    (home_is_full, NEEDS_A_HOME, "No space left", "room on its disk"),
    (home_is_foreign, (*NEEDS_A_HOME, "gc"), "Permission denied|Read-only", "SYFT_FLWR_HOME|access"),
    (data_is_read_only, NEEDS_THE_DATA, "box/datasites: Read-only", "Mount it for writing"),
    (data_is_full, NEEDS_THE_DATA, "no room left", "Free disk space"),
    (data_has_a_long_name, NEEDS_THE_DATA, "File name too long", "shorter path"),
    (staging_is_a_file, NEEDS_THE_DATA, r"box/\.syft_flwr_staging: File exists", "Move it away"),
    (staging_is_a_broken_link, NEEDS_THE_DATA, r"box/\.syft_flwr_staging: File exists", "Move it away"),
    (datasites_is_a_broken_link, NEEDS_THE_DATA, "nowhere, which is not there", "Mount the disk"),
    (datasites_is_a_loop, NEEDS_THE_DATA, "which is not there", "put a folder"),
    (datasites_is_a_file, NEEDS_THE_DATA, "datasites: File exists", "Move it away"),
    (datasites_are_links, STARTS, "datasites/do?s?@x.org is a symbolic link", "Put a folder in its place"),
    (peer_is_a_link, STARTS, "datasites/do@x.org is a symbolic link", "Put a folder in its place"),
    (app_data_is_a_link, STARTS, "app_data is a symbolic link", "Put a folder in its place"),
    (public_is_a_file, STARTS, "public is a file", "Move it away"),
    (project_is_not_utf_8, OF_A_PROJECT, r"caf\\xe9 is not UTF-8", "Rename"),
    (project_is_a_loop, OF_A_PROJECT, "pyproject.toml", "."),
    (pyproject_is_unreadable, OF_A_PROJECT, r"project/pyproject\.toml cannot be read", "Give this user access"),
    (pyproject_is_a_folder, OF_A_PROJECT, "pyproject.toml", "."),
    (project_is_read_only, ("bootstrap", "run"), "Read-only file system", "."),
    (output_is_not_utf_8, ("run",), r"cur\\xe9/output is not UTF-8", "Rename"),
    (current_folder_is_gone, ("run",), "current folder of this process was deleted", "cd"),
    (no_temporary_folder, ("run",), "temporary folder", "TMPDIR"),
]
CASES = [
    pytest.param(prepare, command, first, second, id=f"{prepare.__name__}-{command}")
    for prepare, commands, first, second in TROUBLES
    for command in commands
]


@pytest.mark.parametrize(("prepare", "command", "first", "second"), CASES)
def test_trouble_with_a_folder_is_told_in_two_lines(
    machine: Machine, prepare: Prepare, command: str, first: str, second: str
) -> None:
    prepare(machine)

    code, lines = machine.run(command)

    assert code in (1, 2)
    shown = lines[next(number for number, line in enumerate(lines) if line.startswith("Error: ")) :]
    assert len(shown) == 2, shown
    assert re.search(first, shown[0]), shown
    assert re.search(second, shown[1]), shown


@pytest.mark.parametrize("prepare", [home_is_read_only, home_has_no_locks, home_is_foreign, home_is_a_file])
def test_settings_are_shown_whatever_the_home_is(machine: Machine, prepare: Prepare) -> None:
    prepare(machine)
    assert machine.run("config") == (0, [])


def test_data_folder_without_locks_is_used(machine: Machine) -> None:
    machine.fail(fcntl, "flock", errno.EOPNOTSUPP)
    participant = open_participant(load_settings(machine.project), live=False)
    participant.transport.put(f"{DS}/public/syft_flwr.json", b"card", readers=["*"])
    participant.transport.close()
    assert (machine.data / "datasites" / DS / "public" / "syft_flwr.json").read_bytes() == b"card"
    assert list((machine.data / ".syft_flwr_staging").glob("*/")) == []


def test_new_home_leaves_no_probe(machine: Machine) -> None:
    participant = open_participant(load_settings(machine.project), live=False)
    participant.open_trust().close()
    participant.transport.close()
    assert {path.name for path in (machine.home / DS).iterdir()} == {"identity.key", "identity.lock", "peers.db"}
    assert stat.S_IMODE((machine.home / DS / "identity.key").stat().st_mode) == 0o600


def test_deleted_current_folder_is_a_config_error(machine: Machine) -> None:
    gone = machine.folder / "gone"
    gone.mkdir()
    machine.monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="current folder of this process was deleted"):
        load_settings("project")
    os.chdir(machine.folder)


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EISDIR, errno.EBUSY])
def test_each_disk_error_has_a_place_and_a_next_step(number: int) -> None:
    with pytest.raises(StorageError, match=r"^/place cannot be used: ") as caught, told():
        raise OSError(number, os.strerror(number), "/place")
    assert caught.value.hint


def test_full_disk_and_quota_are_a_full_storage() -> None:
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(StorageFullError, match="no room left to write /place"), told():
            raise OSError(number, os.strerror(number), "/place")


@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "reset"), BrokenPipeError(32, "pipe"), TimeoutError(110, "t")]
)
def test_error_of_a_connection_is_no_disk_error(error: OSError) -> None:
    with pytest.raises(type(error)), told():
        raise error


def test_lock_error_of_another_kind_keeps_its_text(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("x")
    with pytest.raises(StoreError, match="cannot be used: "):
        ProcessLock(tmp_path / "folder" / "lock", "a server")


@pytest.mark.parametrize("function", ["mkdir", "open", "rename", "link"])
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO])
def test_error_in_a_datasite_names_the_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    """The text may reach a peer, so the path of this machine is in the hint."""
    transport = SyftBoxTransport(tmp_path / "box", DS)

    def fail(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if name != "open" or (options.get("dir_fd") and arguments[1] & os.O_CREAT):
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        monkeypatch.setattr(os, name, call)

    # A rename takes the place of a link that is not possible.
    for name in ("link", "rename") if function == "link" else (function,):
        fail(name)
    with pytest.raises(TransportError) as caught:
        transport.put(f"{DS}/public/card.json", b"1", readers=["*"], replace=function == "rename")
    monkeypatch.undo()
    transport.close()

    assert str(tmp_path) not in str(caught.value)
    assert str(tmp_path / "box" / "datasites" / DS) in caught.value.hint
    assert "\n" not in caught.value.hint
