"""A machine of a page: a terminal and a notebook in one folder."""

from collections.abc import Mapping
from pathlib import Path

from dockit.environment import python_of_notebooks
from dockit.notebook import Notebook
from dockit.terminal import Terminal
from dockit.work import Executor

_PATIENCE = 30.0


class Machine:
    """A terminal and a notebook in one folder. Both are started with their first block."""

    def __init__(self, folder: Path, variables: Mapping[str, str], scripts: Path) -> None:
        self.folder = folder
        self._variables = variables
        self._scripts = scripts
        self._terminal: Terminal | None = None
        self._notebook: Notebook | None = None

    def terminal(self) -> Terminal:
        if not self._terminal:
            self._terminal = Terminal(self.folder, self._variables, self._scripts)
        return self._terminal

    def notebook(self) -> Notebook:
        """Return the notebook. It has the folder and the variables that the terminal had at its start."""
        if not self._notebook:
            folder, variables = self.terminal().environment(_PATIENCE)
            self._notebook = Notebook(python_of_notebooks(variables), folder, variables)
        return self._notebook

    def wait_for_jobs(self, seconds: float) -> tuple[int, str]:
        """Return the exit code and the text of the wait for the commands with ``&``."""
        if not self._terminal:
            return 0, ""
        result = self._terminal.wait_for_jobs(seconds)
        return result.exit_code, result.output

    def close(self) -> None:
        opened: list[Executor | None] = [self._notebook, self._terminal]
        for executor in opened:
            if executor:
                executor.close()
