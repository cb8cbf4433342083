"""Executes the blocks of a page in their order, and checks their exit codes and outputs."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dockit.comparison import missing_line
from dockit.faults import DocumentError, shown
from dockit.machine import Machine
from dockit.page import Block, Kind, Page
from dockit.processes import Mark
from dockit.rules import Waiting
from dockit.stage import Stage
from dockit.work import INTERRUPTED, Executor, LateError, Result

#: Seconds for one block, for a block of a page that installs packages, and for all blocks of a page.
_BLOCK, _INSTALLING, _PAGE = 120.0, 240.0, 400.0
#: The access time of a file that no program has read.
_UNREAD = 1_000_000_000


@dataclass
class _Work:
    """A block that has begun, with the outputs that the page shows for it."""

    block: Block
    executor: Executor
    outputs: list[Block] = field(default_factory=list)
    result: Result | None = None


class Execution:
    """The execution of one page on its machines."""

    def __init__(self, page: Page, machines: Mapping[str, Machine], block_seconds: float, page_seconds: float) -> None:
        self._page = page
        self._machines = machines
        self._block_seconds = block_seconds
        self._deadline = time.monotonic() + page_seconds
        #: The latest work of each terminal.
        self._works: dict[str, _Work] = {}
        self._latest: _Work | None = None
        self._files: dict[Path, Block] = {}

    def run(self) -> None:
        """Execute all blocks.

        Raises:
            DocumentError: a block fails or has another output.
        """
        for block in self._page.blocks:
            name = self._terminal_of(block)
            match block.kind:
                case Kind.SHELL | Kind.CELL:
                    self._begin(block, name)
                case Kind.FILE:
                    self._write(block, self._machines[name])
                case Kind.OUTPUT:
                    self._expect(block, self._works.get(name) if block.terminal else self._latest)
        self._end()
        for path, block in self._files.items():
            if path.exists() and path.stat().st_atime_ns == _UNREAD:
                raise DocumentError(f"{block.place}: no later block uses the file {block.rule.file}")

    def _terminal_of(self, block: Block) -> str:
        name = block.terminal or next(iter(self._machines))
        if name not in self._machines:
            raise DocumentError(f"{block.place}: the stage has no terminal {name!r}, only {list(self._machines)}")
        return name

    def _begin(self, block: Block, name: str) -> None:
        self._finish(name)
        machine = self._machines[name]
        executor: Executor = machine.terminal() if block.kind is Kind.SHELL else machine.notebook()
        self._works[name] = self._latest = _Work(block, executor)
        executor.start(block.text)
        if block.rule.waiting is Waiting.NOW:
            self._finish(name)

    def _expect(self, block: Block, work: _Work | None) -> None:
        if not work:
            raise DocumentError(f"{block.place}: no block above has this output")
        if work.result:
            self._compare(block, work.result.output)
        else:
            work.outputs.append(block)

    def _write(self, block: Block, machine: Machine) -> None:
        path = machine.folder / block.rule.file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if block.rule.appends else "w", encoding="utf-8") as file:
            file.write(block.text)
        os.utime(path, ns=(_UNREAD, path.stat().st_mtime_ns))
        # Some disks keep no access times; then this check is left out.
        if _keeps_access_times(path.parent):
            self._files[path] = block

    def _finish(self, name: str) -> None:
        """Wait for the end of the work of a terminal, and check it."""
        work = self._works.get(name)
        if not work or work.result:
            return
        stopped = work.block.rule.waiting is Waiting.STOPPED
        ended_early = stopped and not work.executor.interrupt()
        try:
            work.result = work.executor.result(self._seconds())
        except LateError as late:
            raise self._error(work.block, str(late), work.executor.output()) from None
        allowed = {work.block.rule.exit_code} | ({INTERRUPTED} if stopped else set())
        if work.result.broken or work.result.exit_code not in allowed:
            wanted = f", but must have {work.block.rule.exit_code}" if work.block.rule.exit_code else ""
            raise self._error(
                work.block, f"exit code {work.result.exit_code}{wanted}; {work.result.cause}", work.result.output
            )
        if ended_early:
            raise self._error(work.block, "it ended before it was stopped", work.result.output)
        for expected in work.outputs:
            self._compare(expected, work.result.output)

    def _compare(self, block: Block, output: str) -> None:
        if (line := missing_line(block.text, output)) is not None:
            raise self._error(block, f"this line is not in the output, or not in this order: {line!r}", output)

    def _end(self) -> None:
        """Wait for all blocks in the background and all commands with ``&``, then stop the others."""
        for name, work in self._works.items():
            if work.block.rule.waiting is Waiting.BACKGROUND:
                self._finish(name)
        idle = [name for name, work in self._works.items() if work.result]
        for name in [*idle, *(name for name in self._works if name not in idle)]:
            self._finish(name)
            try:
                code, text = self._machines[name].wait_for_jobs(self._seconds())
            except LateError as late:
                raise self._error(self._works[name].block, f"a command with & has {late}", "") from None
            if code:
                raise self._error(self._works[name].block, "at the end of the page", text)

    def _seconds(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise DocumentError(f"{self._page.path.name}: the page takes too long")
        return min(self._block_seconds, left)

    def _error(self, block: Block, text: str, output: str) -> DocumentError:
        others = "".join(
            f"Meanwhile, {work.block.place} printed:\n{shown(work.executor.output())}"
            for work in self._works.values()
            if work.block is not block and not work.result
        )
        return DocumentError(f"{block.place}: {text}\n{shown(block.text)}Its output:\n{shown(output)}{others}")


def execute(page: Page) -> None:
    """Execute a page. All its processes have ended and all its folders are deleted then, also after a failure.

    Raises:
        DocumentError: a block fails or has another output, or leaves a process.
    """
    mark = Mark()
    with _folder() as root:
        stage = Stage(page.stage, root, mark)
        left: list[str] = []
        try:
            stage.set_up()
            Execution(page, stage.machines, _INSTALLING if page.stage.fresh else _BLOCK, _PAGE).run()
        finally:
            stage.close()
            left = mark.end_all()
    if left:
        raise DocumentError(f"{page.path.name}: processes still ran at the end of the page: {left}")


@contextmanager
def _folder() -> Iterator[Path]:
    """Yield a folder with a short path, because the path of a socket may have 107 characters."""
    root = Path(tempfile.mkdtemp(prefix="page-"))
    try:
        yield root
    finally:
        shutil.rmtree(root)


def _keeps_access_times(folder: Path) -> bool:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".probe-") as probe:
        probe.write(b"probe")
        probe.flush()
        os.utime(probe.name, ns=(_UNREAD, os.stat(probe.name).st_mtime_ns))
        Path(probe.name).read_bytes()
        return os.stat(probe.name).st_atime_ns != _UNREAD
