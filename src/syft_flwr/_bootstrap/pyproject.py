"""Writes the settings of this package into a project's ``pyproject.toml``, and keeps everything else in it.

Comments, order and every key that is not ours stay. The edited text is parsed and compared with what the file said
before; where that fails, it is not written.
"""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syft_flwr.config import sources
from syft_flwr.emails import normalise_all
from syft_flwr.errors import ConfigError

if TYPE_CHECKING:
    from tomlkit.items import Array


def edit(text: str, old: dict[str, Any], wanted: dict[str, Any], path: Path) -> str:
    """Return the text with ``wanted`` in our table.

    Raises:
        ConfigError: the file is written in a way that this would say something else besides.
    """
    import tomllib

    from tomlkit.exceptions import TOMLKitError

    try:
        edited = _write_in(text, wanted)
        verified = _says(tomllib.loads(edited), old, wanted)
    except (TOMLKitError, tomllib.TOMLDecodeError):
        verified = False
    if not verified:
        raise ConfigError(
            f"{path} is written in a way that cannot be edited without changing more than {sources.PROJECT_TABLE}",
            hint=f"Write {sources.PROJECT_TABLE} with {', '.join(wanted)} by hand, or give [tool] its usual form.",
        )
    return edited


def _write_in(text: str, wanted: dict[str, Any]) -> str:
    """Return the text of pyproject.toml with our keys in it."""
    import tomlkit

    # tomlkit ends its own lines with \n; a file of Windows lines goes through it without the \r.
    windows = "\r\n" in text and text.count("\n") == text.count("\r\n")
    document = tomlkit.parse(text.replace("\r\n", "\n") if windows else text)
    root: Any = document
    table = root.get("tool", {}).get("syft_flwr")
    if table is not None:
        _update(table, wanted)
        edited = tomlkit.dumps(document)
    else:
        # Appended as text: a table at the end of the file disturbs nothing, wherever the other [tool] tables stand.
        table = tomlkit.table()
        table.update({key: wanted[key] for key in ("app_name", "aggregator", "datasites", "transport")})
        edited = f"{tomlkit.dumps(document).rstrip()}\n\n{sources.PROJECT_TABLE}\n{table.as_string()}"
    return edited.replace("\n", "\r\n") if windows else edited


def _update(table: Any, wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if key not in table:
            table[key] = value
        elif key == "datasites" and _is_emails(table[key]):
            _update_emails(table[key], value)
        elif table[key] != value:
            table[key] = value


def _is_emails(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _update_emails(array: "Array", emails: list[str]) -> None:
    """Make ``array`` name ``emails``; entries that stay keep their line, their spelling and their comment."""
    missing = list(emails)
    for index in reversed(range(len(array))):
        folded = str(array[index]).strip().casefold()
        if folded in missing:
            missing.remove(folded)
        else:
            del array[index]
    for email in missing:
        _add(array, email)


def _add(array: "Array", value: str) -> None:
    """Append to an array that may hold comments.

    tomlkit forgets the comma when comments follow a last entry that has none; then the new entry goes first.
    """
    trial = copy.deepcopy(array)
    trial.append(value)
    if _value_of(trial) == [*array.unwrap(), value]:
        array.append(value)
    else:
        array.insert(0, value)


def _value_of(array: "Array") -> Any:
    import tomllib

    try:
        return tomllib.loads(f"array = {array.as_string()}")["array"]
    except tomllib.TOMLDecodeError:
        return None


def _says(new: dict[str, Any], old: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Say whether ``new`` is ``old`` with our keys; the datasites may stand in any order."""
    new, expected = copy.deepcopy(new), copy.deepcopy(old)
    expected.setdefault("tool", {}).setdefault("syft_flwr", {}).update(wanted)
    for document in (new, expected):
        table = document["tool"]["syft_flwr"]
        table["datasites"] = sorted(normalise_all(table["datasites"]))
    return new == expected
