"""Writes the settings of this package into the ``pyproject.toml`` of a project, and keeps all other content.

Comments, order and all other keys are kept. The edited text is parsed and compared with the old content. If another
value differs, the file is not written.
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
    """Return the text of a pyproject.toml with ``wanted`` in ``[tool.syft_flwr]``.

    Args:
        text: the present text of the file.
        old: the same, parsed.
        wanted: the settings to write.
        path: the file, for the text of the error.

    Raises:
        ConfigError: the edit would also change other values.
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
            f"{path} cannot be edited automatically: a change of {sources.PROJECT_TABLE} would also change other parts",
            hint=f"Write {sources.PROJECT_TABLE} with {', '.join(wanted)} by hand, or write [tool] as an ordinary table.",
        )
    return edited


def _write_in(text: str, wanted: dict[str, Any]) -> str:
    """Return the text of pyproject.toml with the wanted keys."""
    import tomlkit

    # tomlkit ends its own lines with \n, so the \r of Windows lines is removed here and added again at the end.
    windows = "\r\n" in text and text.count("\n") == text.count("\r\n")
    document = tomlkit.parse(text.replace("\r\n", "\n") if windows else text)
    root: Any = document
    table = root.get("tool", {}).get("syft_flwr")
    if table is not None:
        _update(table, wanted)
        edited = tomlkit.dumps(document)
    else:
        # Appended as text: at the end of the file, the table is valid for every position of the other [tool] tables.
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
    """Update ``array`` to ``emails``; an entry that stays keeps its line, spelling and comment."""
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

    tomlkit forgets a comma if comments follow a last entry that has no comma. In this case the new entry is put first.
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
    """Return whether ``new`` equals ``old`` with the wanted keys; the order of the datasites does not matter."""
    new, expected = copy.deepcopy(new), copy.deepcopy(old)
    expected.setdefault("tool", {}).setdefault("syft_flwr", {}).update(wanted)
    for document in (new, expected):
        table = document["tool"]["syft_flwr"]
        table["datasites"] = sorted(normalise_all(table["datasites"]))
    return new == expected
