"""A notebook: one kernel for all Python blocks of a page that run in it. Its sockets are files, not TCP ports."""

import contextlib
import json
import queue
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from dockit.work import INTERRUPTED, LateError, Result

_NAME = "page"
_START_SECONDS = 60
#: Notes the exit code of the first ``!`` or ``%pip`` of a cell that fails: IPython itself does not fail then.
_NOTE_FAILURES = """\
def _note_failures(shell, failed):
    system = shell.system
    def run(command):
        system(command)
        if code := shell.user_ns.get("_exit_code"):
            failed.append(code)
    shell.system = run
    shell.first_failure = lambda: ([*failed, 0][0], failed.clear())[0]
_note_failures(get_ipython(), [])
del _note_failures
"""
_FIRST_FAILURE = "get_ipython().first_failure()"


class Notebook:
    """A kernel in the Python environment of a page.

    Args:
        python: the Python of the environment, with the package ``ipykernel``.
    """

    def __init__(self, python: Path, folder: Path, environment: Mapping[str, str]) -> None:
        # The path of a socket may have 107 characters, so it cannot be in the folder of a test.
        self._files = tempfile.TemporaryDirectory(prefix="nb-")
        specification = Path(self._files.name) / "specs" / _NAME
        specification.mkdir(parents=True)
        command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        content = {"argv": command, "display_name": _NAME, "language": "python"}
        (specification / "kernel.json").write_text(json.dumps(content), encoding="utf-8")
        specs = KernelSpecManager(kernel_dirs=[str(specification.parent)], ensure_native_kernel=False)
        self._manager = KernelManager(
            kernel_name=_NAME,
            kernel_spec_manager=specs,
            transport="ipc",
            ip=f"{self._files.name}/kernel",
            connection_file=f"{self._files.name}/connection.json",
        )
        self._manager.start_kernel(cwd=str(folder), env=dict(environment))
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_START_SECONDS)
        self._message = ""
        self._printed: list[str] = []
        self._begun = self._ended = False
        self._client.execute(_NOTE_FAILURES, silent=True, store_history=False, reply=True, timeout=_START_SECONDS)

    def start(self, code: str) -> None:
        """Let the kernel execute a cell, without waiting for its end."""
        self._printed = []
        self._begun = self._ended = False
        self._message = self._client.execute(code, allow_stdin=False, user_expressions={"exit": _FIRST_FAILURE})

    def interrupt(self) -> bool:
        """Interrupt the cell, as the button with the square does; return False if it has ended before.

        A kernel ignores an interrupt before the cell.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self._begun and not self._ended:
            self._note(self._next(self._client.get_iopub_msg, deadline, _START_SECONDS))
        with contextlib.suppress(queue.Empty):
            while not self._ended:
                message = self._client.get_iopub_msg(timeout=0)
                if message["parent_header"].get("msg_id") == self._message:
                    self._note(message)
        if not self._ended:
            self._manager.interrupt_kernel()
        return not self._ended

    def output(self) -> str:
        """Return the output of the latest cell so far, with its result and its traceback."""
        return "".join(self._printed)

    def result(self, seconds: float) -> Result:
        """Return the end of the latest cell.

        Raises:
            LateError: the cell did not end in time.
        """
        deadline = time.monotonic() + seconds
        while not self._ended:
            self._note(self._next(self._client.get_iopub_msg, deadline, seconds))
        reply = self._next(self._client.get_shell_msg, deadline, seconds)["content"]
        if reply["status"] != "ok":
            stopped = reply.get("ename") == "KeyboardInterrupt"
            return Result(INTERRUPTED if stopped else 1, self.output(), f"{reply.get('ename')}: {reply.get('evalue')}")
        code = int(reply["user_expressions"]["exit"]["data"]["text/plain"])
        return Result(code, self.output(), "a command with ! or % failed" if code else "")

    def close(self) -> None:
        """End the kernel and delete its files."""
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._files.cleanup()

    def _next(self, get: Any, deadline: float, seconds: float) -> dict[str, Any]:
        """Return the next message about the latest cell."""
        while time.monotonic() < deadline and self._manager.is_alive():
            try:
                message: dict[str, Any] = get(timeout=min(1.0, max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") == self._message:
                return message
        if not self._manager.is_alive():
            self._printed.append("the kernel has ended\n")
        raise LateError(f"not ended after {seconds:.0f} s")

    def _note(self, message: dict[str, Any]) -> None:
        """Note the output in a message, and whether the cell has begun or ended."""
        content = message["content"]
        match message["msg_type"]:
            case "stream":
                self._printed.append(content["text"])
            case "execute_result" | "display_data":
                self._printed.append(f"{content['data'].get('text/plain', '')}\n")
            case "error":
                self._printed.append("\n".join(content["traceback"]) + "\n")
            case "status":
                self._ended = content["execution_state"] == "idle"
            case "execute_input":
                self._begun = True
