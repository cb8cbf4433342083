"""Finds and ends all processes of one page. They inherit a mark in their environment."""

import contextlib
import secrets
from collections.abc import Mapping

import psutil

_MARK = "EXECUTED_PAGE"
_PATIENCE = 10.0


class Mark:
    """A mark for the environments of the processes of a page."""

    def __init__(self) -> None:
        self._value = secrets.token_hex(8)

    @property
    def environment(self) -> Mapping[str, str]:
        return {_MARK: self._value}

    def processes(self) -> list[psutil.Process]:
        """Return the running processes with this mark."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) == self._value and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def end_all(self) -> list[str]:
        """Kill all processes with this mark, also those that others start meanwhile. Return their command lines."""
        ended: list[str] = []
        while alive := self.processes():
            for process in alive:
                with contextlib.suppress(psutil.Error):
                    ended.append(" ".join(process.cmdline()))
                    process.kill()
            psutil.wait_procs(alive, timeout=_PATIENCE)
        return ended
