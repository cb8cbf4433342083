"""A terminal: one bash for all blocks of a page that run in it, so that ``cd``, ``export`` and ``&`` last.

Bash executes each block with ``source``, without a keyboard, and with its output in a file. The first command that fails
ends the block, as ``set -e`` does, but bash stays. With ``set -m``, each command has a process group, as in a terminal of
a person, and Ctrl-C reaches only the command in the foreground.
"""

import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
from waiting import eventually

from dockit.work import LateError, Result

#: The number in bash of the pipe with the exit codes.
_REPLIES = 199
_START = """\
exec {replies}>&{pipe} {pipe}>&-
set -mE -o pipefail
trap : INT
# Without numbers, the command of bash succeeds always, and forgets the exit codes.
wait() {{
    if [ $# -gt 0 ]; then builtin wait "$@"; return; fi
    local job code=0
    jobs -p >{jobs}
    for job in $(cat {jobs}); do builtin wait "$job" || code=$?; done
    return $code
}}
trap '__status=$?; if [ -n "${{BASH_SOURCE-}}" ]; then __failed=$BASH_COMMAND; return $__status; fi' ERR
"""
# On lines of their own: after Ctrl-C, bash drops the rest of a line.
_RUN = """\
__failed=
source {script} </dev/null >{output} 2>&1 {replies}>&-
printf '%s\\t%s\\0' $? "$__failed" >&{replies}
"""
#: Waits for all jobs; ``wait`` returns the exit code of a job that ended long ago, too. A subshell has no such jobs.
_WAIT_FOR_JOBS = """\
jobs -p >{jobs}
for __job in $(cat {jobs}); do
    __code=0; wait $__job || __code=$?
    case $__code in 0|130|143) ;; *) echo "a command with & failed with exit code $__code"; false;; esac
done
"""
_END = 10.0


class Terminal:
    """A bash with its own home and folder.

    Args:
        scripts: an empty folder for the blocks and their outputs.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], scripts: Path) -> None:
        scripts.mkdir(parents=True)
        self._scripts = scripts
        self._started = 0
        self._groups_before: set[int] = set()
        self._replies, pipe = os.pipe()
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[pipe],
        )
        os.close(pipe)
        self._say(_START.format(replies=_REPLIES, pipe=pipe, jobs=shlex.quote(str(scripts / "jobs"))))

    def start(self, code: str) -> None:
        """Let bash execute a block, without waiting for its end."""
        self._started += 1
        script = self._scripts / f"{self._started}.sh"
        script.write_text(f"{code}\n", encoding="utf-8")
        self._groups_before = self._groups()
        self._say(_RUN.format(script=shlex.quote(str(script)), output=shlex.quote(str(self._path())), replies=_REPLIES))

    def interrupt(self) -> bool:
        """Send Ctrl-C to the command in the foreground, as soon as it has begun; return False if the block has ended."""
        started = eventually(lambda: self._has_ended() or self._groups() - self._groups_before, "no command has begun")
        if not isinstance(started, set):
            return False
        for group in started:
            os.killpg(group, signal.SIGINT)
        return True

    def output(self) -> str:
        """Return the output of the latest block so far."""
        path = self._path()
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def result(self, seconds: float) -> Result:
        """Return the end of the latest block.

        Raises:
            LateError: the block did not end in time.
        """
        deadline = time.monotonic() + seconds
        reply = b""
        while not reply.endswith(b"\0"):
            if not select.select([self._replies], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise LateError(f"not ended after {seconds:.0f} s")
            if not (part := os.read(self._replies, 1 << 16)):
                return Result(self._bash.wait(_END), self.output(), "the block ended its terminal", broken=True)
            reply += part
        code, _, command = reply[:-1].decode(errors="replace").partition("\t")
        return Result(int(code), self.output(), f"`{command}` failed" if command else "")

    def wait_for_jobs(self, seconds: float) -> Result:
        """Wait for the commands with ``&``. The result has the exit code 1 if one of them failed."""
        self.start(_WAIT_FOR_JOBS.format(jobs=shlex.quote(str(self._scripts / "jobs"))))
        return self.result(seconds)

    def environment(self, seconds: float) -> tuple[Path, dict[str, str]]:
        """Return the current folder and the exported variables, for a notebook that is started here."""
        self.start("pwd; env -0")
        folder, _, variables = self.result(seconds).output.partition("\n")
        pairs = (entry.partition("=") for entry in variables.split("\0") if entry)
        return Path(folder), {name: value for name, _, value in pairs}

    def close(self) -> None:
        """End bash. The page ends the processes that bash started."""
        self._bash.kill()
        self._bash.communicate()
        os.close(self._replies)

    def _has_ended(self) -> bool:
        return bool(select.select([self._replies], [], [], 0)[0])

    def _path(self) -> Path:
        return self._scripts / f"{self._started}.out"

    def _groups(self) -> set[int]:
        found = set()
        for child in psutil.Process(self._bash.pid).children():
            # A child can end between the list and the question.
            with suppress(ProcessLookupError):
                found.add(os.getpgid(child.pid))
        return found

    def _say(self, commands: str) -> None:
        assert self._bash.stdin
        self._bash.stdin.write(commands.encode())
        self._bash.stdin.flush()
