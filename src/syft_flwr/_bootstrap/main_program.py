"""The ``main.py`` of a project: its text, and the check that no work of a person is overwritten.

The file contains a hash of its own text, so a changed file is recognised. Releases 0.1 to 0.5 of syft-flwr wrote a file
without a mark. It is known by the hash of its text.
"""

import hashlib
import os
import re
from pathlib import Path

from syft_flwr.config import sources
from syft_flwr.errors import ConfigError
from syft_flwr.template import read_template

MAIN = "main.py"

_MARK = '# Written by "syft-flwr bootstrap" (text {digest}); put your own code into the package of the app.\n'
_MARKED = re.compile(re.escape(_MARK).replace(re.escape("{digest}"), "([0-9a-f]{16})"))

#: The start of the SHA-256 of the main.py that earlier releases wrote, see :func:`_normalised`.
_OLD_PROGRAMS = {
    "64041324255ebd9688b719183cdc96da": "0.1.6 to 0.4.0",
    "a77b381357cda58c74b20df6127b44ea": "0.4.1 to 0.4.3",
    "98ca6c66cbcea395b08b6db039018683": "the branch main before 0.5.0",
    "070298dffdae05ba2ff493e78bc1f280": "0.5.0 to 0.5.3",
}


def render_main() -> str:
    """Return the text of ``main.py`` with its mark."""
    text = read_template("main.py.tpl")
    return _MARK.format(digest=_digest(text)) + text


def refuse_foreign_main(main: Path, program: str) -> None:
    """Raise ConfigError if the existing main.py was not written by bootstrap, or was changed later."""
    if not os.path.lexists(main):
        return
    text = _read(main)
    mark = _MARKED.match(text)
    if main.is_symlink() or not (text == program or (mark and mark[1] == _digest(text[mark.end() :])) or _is_old(text)):
        state = "was changed since bootstrap wrote it" if mark else "was not written by bootstrap"
        raise ConfigError(f"{main} {state}", hint="Move it away or delete it, then run bootstrap again.")


def is_old_main(main: Path) -> bool:
    """Return whether ``main`` is the unchanged main.py of an earlier release, which cannot run with this one."""
    return os.path.lexists(main) and _is_old(_read(main))


def _is_old(text: str) -> bool:
    return hashlib.sha256(_normalised(text).encode()).hexdigest()[:32] in _OLD_PROGRAMS


def _normalised(text: str) -> str:
    """Return ``text`` without spaces at the ends of lines, and without empty lines at its start and end."""
    return "\n".join(line.rstrip() for line in text.removeprefix("\ufeff").splitlines()).strip("\n")


def _read(main: Path) -> str:
    try:
        return sources.read_text(main, what=str(main)).replace("\r\n", "\n")
    except ConfigError:
        return ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
