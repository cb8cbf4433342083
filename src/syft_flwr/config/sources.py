"""Reads the files with settings: the pyproject.toml of a project and the config of the SyftBox client.

Every read has a size limit. A problem raises a :class:`~syft_flwr.errors.ConfigError` that names the file but never
shows its content, because SyftBox stores its tokens there.
"""

import json
import os
import re
from pathlib import Path
from typing import Any

from syft_flwr.errors import ConfigError, NotFoundError, StorageError
from syft_flwr.files import read_bounded

#: In bytes; both files have a few KB.
MAX_SIZE = 1024 * 1024

#: Parts of a key with dots.
_MOST_PARTS = 32
_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
#: No search begins inside a part, so that the time is linear.
_LONG_KEY = re.compile(rf"""(?<![A-Za-z0-9_.\\"'-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{_MOST_PARTS}}}""")

PROJECT_FILE = "pyproject.toml"
PROJECT_TABLE = "[tool.syft_flwr]"


#: The place in the text of an error of Python's parser, and in that of :func:`load_toml`.
_PLACE = re.compile(r" ?\(at ([^()]{1,60})\)\Z")

CORRECT = "Correct the file."
CORRECT_TOML = (
    "Correct the file at this place. In TOML, a text is in quotes, and each bracket and each quote is closed."
)
_CORRECT_SYFTBOX = (
    "Correct the file, which is one JSON object. Or move it away and log in to SyftBox again, which writes a new one."
)


def read_text(path: Path, *, what: str, hint: str = "", mend: str = CORRECT) -> str:
    """Return the text of ``path``, a UTF-8 file of at most ``MAX_SIZE`` bytes.

    Args:
        path: the file; symbolic links are followed.
        what: the name of the file in errors.
        hint: the hint for a file that is missing.
        mend: the hint for a file that is there and is wrong.

    Raises:
        ConfigError: the file is missing, empty or too large, or cannot be read as UTF-8.
    """
    try:
        data = read_bounded(Path(os.path.realpath(path)), MAX_SIZE)
    except NotFoundError:
        if not path.exists():
            raise ConfigError(f"{what}: the file does not exist", hint=hint) from None
        if not path.is_file():
            raise ConfigError(f"{what} is not a regular file", hint="Move it away, and put the file there.") from None
        raise ConfigError(f"{what}: the file is empty", hint=mend) from None
    except StorageError as error:
        raise ConfigError(f"{what} cannot be read: {error}", hint=error.hint or mend) from None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{what}: line {line} is not UTF-8", hint="Save the file as UTF-8.") from None


def parse_toml(text: str, path: Path) -> dict[str, Any]:
    """Return the parsed text of a pyproject.toml; a ConfigError for broken TOML names file, line and column."""
    try:
        return load_toml(text)
    except (ValueError, RecursionError) as error:
        place, reason = toml_fault(error)
        raise ConfigError(f"{path}: broken TOML at {place}: {reason}", hint=CORRECT_TOML) from None


def toml_fault(error: Exception) -> tuple[str, str]:
    """Return the place of an error of :func:`load_toml`, such as ``line 1, column 6``, and its text without it."""
    text = "brackets inside brackets are too deep" if isinstance(error, RecursionError) else str(error)
    place = _PLACE.search(text)
    if not place:
        return "an unknown place", text
    return place[1].replace("end of document", "the end of the file"), text[: place.start()]


def load_toml(text: str) -> dict[str, Any]:
    """Return parsed TOML; raise ValueError or RecursionError if it is broken, or has an integer of thousands of digits.

    The time of Python's parser grows with the square of the parts of a key, so keys with very many parts are refused.
    """
    import tomllib

    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise ValueError(f"a key has more than {_MOST_PARTS} parts (at line {line})")
    return tomllib.loads(text)


def read_project(project_dir: Path) -> tuple[Path, str]:
    """Return the path and the text of the pyproject.toml of a project; ConfigError if it cannot be read."""
    path = project_dir / PROJECT_FILE
    return path, read_text(path, what=str(path), hint="Name the folder of a Flower project.")


def table_at(document: Any, *keys: str) -> dict[str, Any]:
    """Return the table below these keys of a parsed TOML file; empty if it is missing or no table."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def tool_table(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return ``[tool.syft_flwr]`` of a parsed pyproject.toml, empty if it is missing; ConfigError if it is not a table."""
    tool = document.get("tool", {})
    table = tool.get("syft_flwr", {}) if isinstance(tool, dict) else None
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {PROJECT_TABLE} is not a table", hint=f"Write it as {PROJECT_TABLE} with keys.")
    if "syft-flwr" in tool:
        # Ignoring the misspelt table would start a run with wrong defaults.
        raise ConfigError(f"{path}: [tool.syft-flwr] is not read", hint=f"Rename it to {PROJECT_TABLE}.")
    return table


def read_syftbox_config(path: Path) -> dict[str, Any]:
    """Return the config of the SyftBox client; ConfigError if it cannot be read or is not a JSON object."""
    hint = "Start the SyftBox client once, or set SYFTBOX_CLIENT_CONFIG_PATH to its config file."
    text = read_text(path, what=f"SyftBox config {path}", hint=hint, mend=_CORRECT_SYFTBOX)
    try:
        config = json.loads(text)
        reason = "is not a JSON object"
    except json.JSONDecodeError as error:
        config, reason = None, f"has broken JSON at line {error.lineno}, column {error.colno}"
    except (ValueError, RecursionError):
        config, reason = None, "has broken JSON"
    if not isinstance(config, dict):
        raise ConfigError(f"SyftBox config {path} {reason}", hint=_CORRECT_SYFTBOX)
    return config
