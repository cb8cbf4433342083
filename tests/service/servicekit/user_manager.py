"""A real systemd user manager, in namespaces of its own, without the rights of root. Its end ends all that it started.

It needs root, or sudo without a password, to make the namespaces and a control group for it. The machine itself may run
another init. Home, units and shared folders are ordinary folders, so a second manager finds them, as after a boot.
"""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil
from waiting import PATIENCE, eventually

_SYSTEMD = "/lib/systemd/systemd"
_PROGRAMS = ("unshare", "nsenter", "setpriv", "systemctl", "systemd-analyze")
#: Makes a fresh /run and a control group, gives up all rights, and starts the manager. This shell is process 1.
_SCRIPT = f"""\
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR"
chown "$OWNER" "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
for group in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    [ -w "$group/cgroup.procs" ] || continue
    mkdir -p "$group/$GROUP/manager"
    chown -R "$OWNER" "$group/$GROUP"
    echo $$ > "$group/$GROUP/manager/cgroup.procs"
done
setpriv --reuid="$OWNER" --regid="$OWNER" --clear-groups --bounding-set=-all --inh-caps=-all {_SYSTEMD} --user &
wait
"""
_CLEAN = """\
for group in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
    find "$group/$GROUP" -depth -type d -exec rmdir {} \\; 2>/dev/null
done
true
"""


def missing_needs() -> str:
    """Return why no user manager can run on this machine; empty if one can."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    if missing or not Path(_SYSTEMD).exists():
        return f"no {' '.join(missing) or 'systemd'}"
    if os.getuid() and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode:
        return "neither root nor sudo without a password"
    probe = [*_as_root(), "unshare", "--mount", "--pid", "--fork", "--mount-proc", "mount", "-t", "tmpfs", "t", "/run"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        return "no right to make namespaces"
    return ""


def _as_root(environ: Mapping[str, str] | None = None) -> list[str]:
    given = [f"{name}={value}" for name, value in (environ or {}).items()]
    return [*(["sudo", "-n"] if os.getuid() else []), "env", *given]


class UserManager:
    """The user manager of this user, with the units below ``home``. Use it in a ``with`` block.

    Args:
        home: the home folder of its user.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        owner = os.getuid()
        self._environ = {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": f"/run/user/{owner}",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "OWNER": str(owner),
            "GROUP": f"syft-flwr-test-{secrets.token_hex(4)}",
            "SYSTEMD_LOG_TARGET": "console",
        }
        self._first: psutil.Process | None = None

    def __enter__(self) -> "UserManager":
        command = [*_as_root(), "-i", *(f"{name}={value}" for name, value in self._environ.items())]
        command += ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _SCRIPT]
        with (self.home / "manager.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._first = eventually(self._find_first, "the first process of the namespace")
        eventually(lambda: self.systemctl("is-system-running").stdout.strip() == "running", "the user manager")
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()

    def power_off(self) -> None:
        """Kill all processes at once, as a power failure does. A second call does nothing."""
        first, self._first = self._first, None
        if first is None:
            return
        if os.getuid():
            subprocess.run(["sudo", "-n", "kill", "-9", str(first.pid)], check=False)
        else:
            os.kill(first.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        subprocess.run([*_as_root(self._environ), "sh", "-c", _CLEAN], check=True)

    def _find_first(self) -> psutil.Process | None:
        assert self._process.poll() is None, (self.home / "manager.log").read_text()
        for child in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if child.cmdline()[:2] == ["sh", "-c"]:
                    return child
            except psutil.NoSuchProcess:
                continue
        return None

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as the user of the manager, in its namespaces."""
        assert self._first is not None
        owner = self._environ["OWNER"]
        inside = ["nsenter", "--target", str(self._first.pid), "--mount", "--pid"]
        inside += ["setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups"]
        return subprocess.run(
            [*_as_root(self._environ), *inside, *command], capture_output=True, text=True, check=False, timeout=PATIENCE
        )

    def systemctl(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.run("systemctl", "--user", *arguments)

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--value", "--property", name, unit).stdout.strip()

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the manager, with the numbers that the test sees."""
        assert self._first is not None
        return self._first.children(recursive=True)

    def main_process(self, unit: str) -> psutil.Process | None:
        """Return the main process of a unit; None if it has none."""
        inner = self.show(unit, "MainPID")
        for process in self.processes():
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                continue
            # The last number is that of the innermost namespace.
            if inner != "0" and [line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")] == [
                inner
            ]:
                return process
        return None
