"""A container engine, with a store of its own: Docker, or podman on a machine without a registry and with its own base."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiting import PATIENCE

IMAGE = "localhost/syft-flwr-client:test"
ROOT = Path(__file__).parents[3]
#: Names the base image of the test, for example one of a registry of this machine.
BASE = "SYFT_FLWR_TEST_BASE"
_LOCAL_BASE = "localhost/syft-flwr-base:test"
#: Seconds for the download of a base and of the packages.
_BUILD = 1_200.0
#: podman runs without the control groups and the timers of systemd, which this machine may not have.
_PODMAN_RUN = ["--cgroups=disabled", "--no-healthcheck", "--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096"]
#: The programs of the engine see the unified control groups alone. This shell keeps the namespace.
_KEEPER = "mount -t cgroup2 none /sys/fs/cgroup; echo ready; read end"


def missing_engine() -> str:
    """Return why no image can be built here; empty if one can."""
    if _docker_works():
        return ""
    missing = [name for name in ("podman", "crun", "catatonit", "debootstrap") if not _is_installed(name)]
    if os.getuid() or missing:
        return f"no Docker engine, and {'no root' if os.getuid() else 'no ' + ' '.join(missing)} for podman"
    return ""


def _is_installed(name: str) -> bool:
    return shutil.which(name) is not None or Path("/usr/libexec/podman", name).exists()


def _docker_works() -> bool:
    if shutil.which("docker") is None:
        return False
    return not subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=PATIENCE).returncode


class Engine:
    """Builds the image of this checkout, and runs it.

    Args:
        command: the engine with its options.
        run_options: options of each container.
    """

    def __init__(self, command: list[str], run_options: list[str]) -> None:
        self._command = command
        self._run_options = run_options

    def call(self, *arguments: str, timeout: float = 2 * PATIENCE) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, check=False, timeout=timeout, cwd=ROOT
        )

    def run(self, *arguments: str) -> str:
        """Start a container with the options of compose.yaml; return its output, or its id with ``--detach``."""
        hardening = ["--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only", "--tmpfs=/tmp", "--init"]
        done = self.call("run", *self._run_options, *hardening, "--network=none", *arguments)
        assert not done.returncode, done.stderr
        return done.stdout.strip()

    def build(self, base: str) -> None:
        arguments = [f"--build-arg=BASE={base}"] if base else []
        if "podman" in self._command:
            # The packages come over a proxy of this machine, if it has one, with its certificates.
            arguments += ["--format=docker", "--isolation=chroot", "--volume=/etc/ssl/certs:/etc/ssl/certs:ro"]
        done = self.call("build", *arguments, "--network=host", "--tag", IMAGE, str(ROOT), timeout=_BUILD)
        assert not done.returncode, done.stdout + done.stderr


@contextmanager
def open_engine(folder: Path) -> Iterator[Engine]:
    """Yield the engine of this machine with the image. With podman, all its files are below ``folder``."""
    if _docker_works():
        engine = Engine(["docker"], [])
        engine.build(os.environ.get(BASE, ""))
        yield engine
        engine.call("image", "rm", "--force", IMAGE)
        return
    keeper = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", _KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with keeper:
        assert keeper.stdout
        keeper.stdout.readline()
        store = ["--root", str(folder / "root"), "--runroot", str(folder / "run"), "--cgroup-manager=cgroupfs"]
        command = ["nsenter", "--target", str(keeper.pid), "--mount", "podman", *store, "--storage-driver=overlay"]
        engine = Engine(command, _PODMAN_RUN)
        try:
            base = os.environ.get(BASE) or _make_base(engine, folder)
            engine.build(base)
            yield engine
        finally:
            engine.call("rm", "--force", "--all", "--time=0")
            engine.call("system", "reset", "--force")
            assert keeper.stdin
            keeper.stdin.close()


def _make_base(engine: Engine, folder: Path) -> str:
    """Make a base image of Debian packages: no registry of images is needed."""
    root, archive = folder / "base", folder / "base.tar"
    packages = "python3,python3-venv,ca-certificates"
    made = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(root)]
    subprocess.run(made, check=True, capture_output=True, timeout=_BUILD)
    subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    done = engine.call("import", "--change", f"ENV {path}", str(archive), _LOCAL_BASE, timeout=_BUILD)
    assert not done.returncode, done.stderr
    return _LOCAL_BASE
