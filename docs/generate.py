"""Writes the generated parts of the documents from the code: ``python docs/generate.py``.

A generated part is between ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``. People write the rest of a document.
``tests/unit/test_docs.py`` fails if a part differs from the output of this script.
"""

import ast
import inspect
import itertools
import math
import re
import sys
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import ModuleType

from syft_flwr import clock, errors, names
from syft_flwr._crypto import keys, segments
from syft_flwr._messaging.wire import limits, reasons
from syft_flwr._store import states
from syft_flwr.cli import exits
from syft_flwr.config import TRANSPORTS, search, transport_table, values
from syft_flwr.doctor import table as doctor_table
from syft_flwr.runs import entry, events, record_file, retention, stream, subscriber
from syft_flwr.transport import gdrive, syftbox
from syft_flwr.transport._syftbox import pace

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs"))

import api_reference  # noqa: E402 - found in the folder of this file
import command_reference  # noqa: E402

PACKAGE = ROOT / "src" / "syft_flwr"
#: Packages with modules that the list of modules leaves out, because other documents list them.
_CLOSED = [
    PACKAGE / name
    for name in ("emulators/gdrive", "emulators/syftbox", "transport/_gdrive/api", "transport/_gdrive/streams")
]
_PART = re.compile(
    r"(?P<head><!-- generated: (?P<name>[a-z-]+) -->\n)(?P<text>.*?)(?P<foot><!-- end of (?P=name) -->)", re.S
)

_NAMED = ", or ".join(
    f"`{name}`" if row.title.lower() == name else f"`{name}` ({row.title})" for name, row in TRANSPORTS.items()
)
#: The meaning of each setting, with its unit.
SETTINGS = {
    "transport": f"how the participants exchange files: {_NAMED}",
    "email": "the email of this participant; with `p2p`, of its Google account",
    "data_dir": "the SyftBox data folder, which contains `datasites/`",
    "home": "the folder for private keys and databases, in a subfolder named by the email, and for the records of local runs; never in a synced folder",
    "app_name": "the name that all participants share",
    "aggregator": "the email of the data scientist",
    "datasites": "the emails of the data owners; separate them by commas in the environment",
    "role": "`server` or `client`, for an email that is both aggregator and datasite",
    "encryption": "encrypt every body and object; all participants must set the same value",
    "msg_timeout": "a request ends as `no-answer` after this number of seconds without a heartbeat that lists it and without a new object of its reply; `none` for never",
    "round_timeout": "a round ends this number of seconds after its first message; `none` for never",
    "min_replies": "the share of a round's requests that need a good reply before the round may be closed, above 0 and at most 1",
    "grace": "seconds to wait for the remaining data owners after `min_replies` of them have replied",
    "strict": "let a run with a failed request count as a failure, as with `--strict`",
    "nodes": "the data owners that a strategy sees: `all`, or `online` for those with a recent heartbeat",
    "journal_limit": "bytes of replies that an aggregator keeps, to continue its run after a crash: a number, also with a unit such as `10GB`; `0` keeps no replies",
    "poll_interval": "seconds between two complete scans, in addition to file events; Google Drive is polled three times as often while a reply is due",
    "threads": "threads that encrypt, decrypt and hash the parts of one message, from 1 to 64; the app's own threads are not counted",
    "user_data_dir": "the folder of private data; read by the ClientApp",
    "output_dir": "the folder for results; read by the ServerApp",
    "gdrive_token_path": "the file with the Google Drive token; by default the one that `syft-flwr login` writes to `home`",
    "gdrive_client_secrets": "the file of the OAuth client for `syft-flwr login`, from Google's console",
    "gdrive_api": "the `http://` address of an emulator on this machine that replaces Google Drive",
    "gdrive_timeout": "seconds without a byte after which a request to Google counts as lost and is sent again, from 1 to 600",
    "gdrive_concurrency": "the most requests to Google at the same time, from 2 to 64; at most all but one of them move the content of files",
    "tracking": "the trackers that get the metrics of the aggregator's runs: `tensorboard`, `mlflow`; separate them by commas in the environment",
    "tensorboard_folder": "the folder for TensorBoard at the aggregator; by default `tensorboard` in the folder of the app, in `home`",
    "run_config": "the run configuration that the ClientApp sees: `sent`, in which values of the aggregator replace those of the project here, or `own`, only those of the project here",
    "run_config_pins": "values of the run configuration that the aggregator cannot change, in the syntax of Flower, such as `lr=0.01`, or the path of a `.toml` file; they also apply with `own`",
    "run_config_overrides": "values that the aggregator sets in place of those of `[tool.flwr.app.config]`, as with `--run-config`",
    "node_config": "values for `context.node_config` of the ClientApp: pairs in Flower's syntax such as `partition-id=3`, or the path of one `.toml` file",
    "worker_command": "the command that starts Python for the worker of a data owner, by default the Python of the client; see [the worker](#another-environment-for-the-worker)",
    "share_tracebacks": "send the end of the traceback of a failed app to the aggregator",
    "idle_after": "seconds without a request after which the client of a data owner ends its worker, which frees memory and GPU; the next request starts a new one, with the same state. `none` for never",
    "log_level": "the lowest level of the lines that a command logs: `TRACE`, `DEBUG`, `INFO`, `SUCCESS`, `WARNING`, `ERROR` or `CRITICAL`",
    "log_json": "write each line of the log of a command as a JSON object, on the console and in files",
    "keep": "let the client of a data owner stay after the end of a run and serve the next one, as with `--keep`",
    "display": "show the progress of a run at the aggregator and of a local run while it lasts: a table in a terminal and a notebook, lines elsewhere",
}

_COUNTS = {
    "MAX_BUFFERS": "buffers",
    "MAX_OBJECTS": "objects",
    "MAX_PIECES": "pieces",
    "MAX_FIELDS": "fields",
    "MAX_USES": "buffers",
    "MAX_HELD": "requests",
    "MAX_MISSING": "objects",
    "MAX_OPEN_RUNS": "runs",
    "MAX_RUNS": "runs",
    "MAX_WAITING": "requests",
    "MAX_WITHDRAWN": "requests",
    "MAX_LISTED": "files",
    "MAX_OBJECT_FILES": "files",
    "MAX_ERROR_TEXT": "characters",
    "MAX_KEPT_KEYS": "keys",
}

#: Numbers of the format that are defined next to the code that uses them.
_SIZES: tuple[tuple[object, str], ...] = (
    (keys.PUBLIC_SIZE, "A public identity: Ed25519, ML-KEM-768, X25519."),
    (keys.PRIVATE_SIZE, "A private identity: Ed25519 seed, ML-KEM-768 seed, X25519."),
    (keys.SIGNATURE_SIZE, "A signature."),
    (keys.SEAL_OVERHEAD, "The bytes that sealing adds to a body: the encapsulated key and the tag."),
    (segments.SEGMENT_SIZE, "Plaintext of one segment of an object."),
    (segments.TAG_SIZE, "The tag after each segment."),
    (pace.PUSHED_SIZE, "A file in one push of SyftBox."),
    (syftbox._INLINE_SIZE, "Inline buffers for one reader over SyftBox, with 24 bytes for each."),  # noqa: SLF001 - as above
    (syftbox._PUSHED_MESSAGE, "All objects of a message with pushed names over SyftBox, as plaintext."),  # noqa: SLF001
    (syftbox._PUSHED_AT_FIRST, "The same, while the link is not known to be fast."),  # noqa: SLF001 - as above
    (syftbox._PART_SIZE, "Plaintext of one object over SyftBox."),  # noqa: SLF001 - a document of it
    (syftbox._SLOW_PART_SIZE, "The same on a slow or unknown link, except the first one."),  # noqa: SLF001 - as above
    (syftbox._LOCAL_PART_SIZE, "The same in a folder that no SyftBox client uses."),  # noqa: SLF001
    (gdrive._PART_SIZE, "Plaintext of one object over Google Drive."),  # noqa: SLF001 - as above
    (clock.SKEW, "Greatest allowed difference between the clocks of two participants."),
)

#: The bounds of the record of a run, which are defined next to the code that uses them.
_RECORD_BOUNDS: tuple[tuple[object, str, str], ...] = (
    (entry.MAX_LINE, "bytes", "One line. A longer one loses its lists and mappings, and has `shortened`: true."),
    (entry.MAX_TEXT, "characters", "A text of an event. The rest is cut off."),
    (entry.MAX_ITEMS, "items", "A list or a mapping of an event. The rest is left out."),
    (record_file.MAX_SIZE, "bytes", "One record. A larger one is shortened."),
    (record_file.MAX_WARNINGS, "bytes", "The warnings in one record. Each peer has a share; further ones are counted."),
    (retention.KEPT, "", "The age of a record, since its last event. Older ones are deleted."),
    (retention._MAX_TOTAL, "bytes", "All records of an app, and again all its metrics. The oldest are deleted first."),  # noqa: SLF001 - as above
    (retention._MAX_RECORDS, "records", "All records of an app. The oldest are deleted first."),  # noqa: SLF001 - as above
    (stream._MAX_QUEUED, "events", "Events that wait to be written. Later ones are lost."),  # noqa: SLF001 - as above
    (stream._MAX_WARNINGS, "events", "Warnings that wait to be written, with a share for each peer."),  # noqa: SLF001
    (subscriber._MAX_QUEUED, "events", "Events that wait for a slow subscriber. Later ones are lost for it."),  # noqa: SLF001
    (stream._SUBSCRIBER_PATIENCE, "", "The wait for a slow subscriber at the end of a run."),  # noqa: SLF001 - as above
    (stream._DISK_PATIENCE, "", "The wait for a slow disk at the end of a process."),  # noqa: SLF001 - as above
)

#: The meaning of the fields without a comment of their own: by the name of the field, or of the event and the field.
_EVENT_FIELDS = {
    "aggregator": "The email of the aggregator.",
    "app": "The app name.",
    "bytes": "Bytes of the envelope and its objects.",
    "cause": "Why the run ended, for people.",
    "data_owner": "The email of the data owner.",
    "data_owners": "Their emails.",
    "lost.reason": "Why, for people.",
    "kind": "The type of the Flower message; `system` for a start, a stop and a ping.",
    "message": "The id of the request.",
    "reason": "A [reason](reference/reasons.md), or `app-error`.",
    "replayed": "Whether the outcome is that of an earlier process of this run.",
    "role": "`aggregator` or `datasite`.",
    "round": "The round, as text; if it is not known, the group of the message.",
    "software": "The release of its software, from its key card.",
    "text": "The text for people.",
    "total": "The number of all objects of the reply.",
    "values": "Numbers, lists of numbers and texts by the name of the metric.",
}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def comments(source: ModuleType | type) -> dict[str, str]:
    """Return the ``#:`` comments above the assignments of a module or class, by name."""
    lines = inspect.getsource(source).splitlines()
    tree = ast.parse("\n".join(lines))
    body = tree.body[0].body if isinstance(source, type) else tree.body  # type: ignore[attr-defined]
    found: dict[str, str] = {}
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name):
                found[target.id] = _comment_above(lines[: node.lineno - 1])
    return found


def _comment_above(lines: Sequence[str]) -> str:
    above = itertools.takewhile(lambda line: line.startswith("#:"), (line.strip() for line in reversed(lines)))
    return " ".join(reversed([line.removeprefix("#:").strip() for line in above]))


def _amount(value: object, unit: str = "bytes") -> str:
    if isinstance(value, timedelta):
        return f"{value.days} days" if value.days else f"{value.seconds // 60} minutes"
    if isinstance(value, float):
        return f"{value:g} s"
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not an amount")
    for power, name in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if unit == "bytes" and value % (1 << power) == 0:
            return f"{value >> power} {name}"
    return f"{value:,} {unit}"


def limits_table() -> str:
    what = comments(limits)
    rows = [(f"`{name}`", _amount(getattr(limits, name), _COUNTS.get(name, "bytes")), what[name]) for name in what]
    rows.append(("`MAX_NAME_LENGTH`", _amount(names.MAX_NAME_LENGTH, "characters"), "The name of a file."))
    return _table(("limit", "value", "meaning"), rows)


def sizes_table() -> str:
    return _table(("value", "meaning"), [(_amount(value), what) for value, what in _SIZES])


def _diagram(arrows: dict[states.State, frozenset[states.State]]) -> str:
    kind = type(next(iter(arrows)))
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {state}" for state in kind if not states.before(arrows, state)]
    lines += [f"    {start} --> {end}" for start in kind for end in kind if end in arrows[start]]
    lines += [f"    {state} --> [*]" for state in kind if not arrows[state]]
    return "\n".join([*lines, "```\n"])


def _meanings(kind: type[StrEnum], title: str) -> str:
    what = comments(kind)
    return _table((title, "meaning"), [(f"`{member.value}`", what[member.name]) for member in kind])


def future_states() -> str:
    return f"{_diagram(states.FUTURE_ARROWS)}\n{_meanings(states.Future, 'state')}"


def received_states() -> str:
    return f"{_diagram(states.RECEIVED_ARROWS)}\n{_meanings(states.Received, 'state')}"


def reasons_table() -> str:
    what = comments(reasons.Reason)
    whose: dict[str, list[str]] = {}
    for kind, reason in reasons._OF_ERROR:  # noqa: SLF001 - a document of it
        whose.setdefault(reason, []).append(f"`{kind.__name__}`")
    rows = [
        (
            f"`{reason.value}`",
            what[reason.name] or _APP_REASONS[reason],
            ", ".join(whose.get(reason, [])),
            _NEXT[reason],
        )
        for reason in reasons.Reason
    ]
    return _table(("code", "meaning", "from the error", "next step"), rows)


_APP_REASONS = {
    reasons.Reason.APP_LOAD: "The ClientApp could not be imported.",
    reasons.Reason.APP_RAISED: "The ClientApp raised an exception, or did not return a valid reply.",
}


#: The next step of the aggregator's person for each reason.
_NEXT = {
    reasons.Reason.NO_ANSWER: "See whether the client of the data owner runs: `syft-flwr status`, `syft-flwr doctor`. Raise `msg_timeout` if it starts later.",
    reasons.Reason.LATE: "Nothing, if this data owner may be left out; else raise `grace` or `min_replies`.",
    reasons.Reason.NO_KEY: "Ask the data owner to start its client once. Compare the email with the one of the project.",
    reasons.Reason.CHANGED_KEY: "Ask the data owner by phone for its new fingerprint, then `syft-flwr peers accept`.",
    reasons.Reason.NOT_SENT: "Read the log of the aggregator: it names the file or the service. `syft-flwr doctor` checks both.",
    reasons.Reason.SYNC_REFUSED: "Ask the data owner to run `syft-flwr doctor`, which checks its permission files.",
    reasons.Reason.ENCRYPTION: "Set the same `encryption` at all participants. After a change of a key, start both sides again.",
    reasons.Reason.INTEGRITY: "Start the run again. If it stays, run `syft-flwr doctor` at both participants: a disk or the sync loses files.",
    reasons.Reason.INVALID: "Compare the releases of both participants with `syft-flwr version`.",
    reasons.Reason.STORAGE_FULL: "Make room on the disk or in the account that the text names; `syft-flwr gc` deletes files of old runs.",
    reasons.Reason.STOPPED: "Nothing: the run had ended, or a person stopped it.",
    reasons.Reason.REFUSED: "Ask the data owner whether it stopped the run, and which release it has.",
    reasons.Reason.APP_LOAD: "The text names the missing module: install it at the data owner, or correct the project there.",
    reasons.Reason.APP_RAISED: "Ask the data owner for the log of its run (`syft-flwr logs`). `SYFT_FLWR_SHARE_TRACEBACKS` sends the end of the traceback.",
    reasons.Reason.WORKER_DIED: "Ask the data owner for its log: often the machine has too little memory for the app.",
}


def error_tree() -> str:
    tree = inspect.cleandoc(errors.__doc__ or "").split("::\n\n", 1)[1].split("\n\n", 1)[0]
    return f"```text\n{inspect.cleandoc(tree)}\n```\n"


def exit_codes() -> str:
    rows = re.findall(r"^(\d+) +([A-Z]+) +(.+)$", exits.__doc__ or "", re.M)
    return _table(("code", "name", "meaning"), [(code, f"`{name}`", meaning) for code, name, meaning in rows])


def _default(value: object) -> str:
    if value is None or value in ((), {}):
        return ""
    if value == math.inf:
        return f"`{values.NO_LIMIT}`"
    if value is transport_table.default_transport:
        return "`syftbox`; in Google Colab `p2p`"
    if value is search.default_threads:
        return "one for each core, at most 8"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def settings_table() -> str:
    rows = [
        (f"`{name}`<br>{_code(field.environment)}", _places(field), _default(field.default), SETTINGS[name])
        for name, field in search.FIELDS.items()
    ]
    return _table(("setting, and its environment variable", "also in", "default", "meaning"), rows)


def _places(field: search.Field) -> str:
    places = {"project": field.project, "SyftBox config": field.syftbox}
    return ", ".join(name for name, is_one in places.items() if is_one)


def transports_table() -> str:
    """Return a table of the transports with the settings of each."""
    rows = [
        (
            f"`{name}`",
            row.title,
            ", ".join(f"`{each}`" for each in ("email", *row.required)),
            ", ".join(f"`{each}`" for each in row.optional),
        )
        for name, row in TRANSPORTS.items()
    ]
    return _table(("`transport`", "storage", "must be set", "may be set"), rows)


def _floors() -> list[tuple[int, list[str]]]:
    """Return the layers of the import contract from the top down, each with its number and its parts."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contract = tomllib.load(file)["tool"]["importlinter"]["contracts"][0]
    rows = [[part.strip() for part in re.split(r"[|:]", re.sub(r"[()]", "", row))] for row in contract["layers"]]
    return list(zip(range(len(rows) - 1, -1, -1), rows, strict=True))


def layers() -> str:
    floors = _floors()
    lines = ["```mermaid", "flowchart TB"]
    lines += [f'    layer{number}["{number}: {" · ".join(parts)}"]' for number, parts in floors]
    lines += [f"    layer{number} --> layer{number - 1}" for number, _ in floors if number]
    return "\n".join([*lines, "```\n"])


def purpose(path: Path) -> str:
    """Return the first line of a module's docstring; ValueError if it is not a complete sentence."""
    first, *rest = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines() or [""]
    if not first.endswith(".") or (rest and rest[0]):
        raise ValueError(f"{path}: the docstring does not begin with one sentence on a separate line")
    return re.sub(r":\w+:(?=`)", "", first).replace("``", "`")


def _rooms(path: Path, closed: Collection[Path] = _CLOSED) -> Iterator[tuple[str, str]]:
    """Yield a module, or a package with all of its modules, each with its purpose."""
    if not path.is_dir():
        yield f"`{path.relative_to(PACKAGE)}`", purpose(path)
        return
    yield f"**`{path.relative_to(PACKAGE)}/`**", purpose(path / "__init__.py")
    if path in closed:
        return
    modules = [each for each in sorted(path.glob("*.py")) if not each.name.startswith("__")]
    packages = [each.parent for each in sorted(path.glob("*/__init__.py"))]
    for each in [*modules, *packages]:
        yield from _rooms(each, closed)


def _path_of(part: str) -> Path:
    return path if (path := PACKAGE / part).is_dir() else path.with_suffix(".py")


def parts_table() -> str:
    """Return a table of the parts of every layer, without their modules."""
    rows = [(str(number), *next(_rooms(_path_of(part)))) for number, parts in _floors() for part in parts]
    return _table(("layer", "part", "purpose"), rows)


def floor_plan() -> str:
    """Return tables of all packages and modules by layer, with the first line of their docstrings."""
    floors = [
        f"### Layer {number}: {', '.join(f'`{part}`' for part in parts)}\n\n"
        + _table(("module", "purpose"), [room for part in parts for room in _rooms(_path_of(part))])
        for number, parts in _floors()
    ]
    return "\n".join(floors)


def drive_modules() -> str:
    """Return a table of the modules of the Google Drive transport."""
    wings = [room for wing in ("streams", "api") for room in _rooms(PACKAGE / "transport" / "_gdrive" / wing, ())]
    return _table(("module", "purpose"), wings)


def record_bounds() -> str:
    """Return a table of the bounds of a record."""
    return _table(("bound", "meaning"), [(_amount(value, unit), what) for value, unit, what in _RECORD_BOUNDS])


#: The heading of each table of events, and the first word of the docstrings of its events.
_SIDES = {"Both sides": "", "Aggregator": "Aggregator: ", "Data owner": "Data owner: "}


def events_tables() -> str:
    """Return tables of all events with their fields, one for both sides and one for each side."""
    chapters = []
    for title, prefix in _SIDES.items():
        kinds = [kind for kind in events.EVENTS.values() if _side(kind) == prefix]
        rows = [row for kind in kinds for row in _event_rows(kind, prefix)]
        chapters.append(f"### {title}\n\n{_table(('event or field', 'default', 'meaning'), rows)}")
    return "\n".join(chapters)


def _side(kind: type[events.Event]) -> str:
    about = inspect.getdoc(kind) or ""
    return next((prefix for prefix in _SIDES.values() if prefix and about.startswith(prefix)), "")


def _event_rows(kind: type[events.Event], prefix: str) -> Iterator[tuple[str, str, str]]:
    about = " ".join((inspect.getdoc(kind) or "").removeprefix(prefix).split())
    kept = " *Lasting.*" if kind.lasting else ""
    yield f"**`{kind.name}`**", "", f"{about[0].upper()}{about[1:]}{kept}"
    base = kind.__mro__[1]
    inherited = {each.name for each in fields(base)} if base is not events.Event else set()
    if inherited:
        yield "", "", f"All fields of `{base.name}`, and:"
    for each in fields(kind):
        if each.name not in inherited:
            yield f"`{each.name}`", _event_default(each), _event_meaning(kind, each.name)


def _event_meaning(kind: type[events.Event], name: str) -> str:
    text = comments(kind)[name] or _EVENT_FIELDS.get(f"{kind.name}.{name}") or _EVENT_FIELDS[name]
    return text.replace("``", "`")


def _event_default(each: "Field[object]") -> str:
    value = each.default if each.default_factory is MISSING else each.default_factory()
    if value is MISSING:
        return "always there"
    if isinstance(value, Mapping | tuple):
        return "empty"
    return "`" + str(value).lower() + "`" if value != "" else "empty"


def checks_table() -> str:
    rows = [
        (
            f"`{check.name}`",
            check.purpose,
            TRANSPORTS[check.transport].title if check.transport else "all",
            "" if check.is_slow else "yes",
            "yes" if check.at_start else "",
        )
        for check in doctor_table.CHECKS
    ]
    return _table(("check", "good result", "transports", "with `--offline`", "at each start"), rows)


def unexecuted_blocks() -> str:
    sys.path.insert(0, str(ROOT / "tests" / "docs"))
    from dockit.pages import names, page_of, unexecuted

    rows = [(f"`{block.place}`", block.rule.reason) for block in unexecuted([page_of(name) for name in names()])]
    return _table(("block", "reason"), rows) if rows else "None.\n"


PARTS: dict[str, Callable[[], str]] = {
    "checks": checks_table,
    "drive-modules": drive_modules,
    "error-tree": error_tree,
    "events": events_tables,
    "exit-codes": exit_codes,
    "modules": floor_plan,
    "not-executed": unexecuted_blocks,
    "future-states": future_states,
    "layers": layers,
    "limits": limits_table,
    "parts": parts_table,
    "reasons": reasons_table,
    "received-states": received_states,
    "record-bounds": record_bounds,
    "settings": settings_table,
    "sizes": sizes_table,
    "transports": transports_table,
    "api": api_reference.names_table,
    "api-types": api_reference.types,
    "commands": command_reference.commands_table,
    "options": command_reference.root_part,
}
PARTS |= {
    f"command-{name.replace(' ', '-')}": partial(command_reference.command_part, name)
    for name in command_reference.commands()
}
PARTS |= {
    f"api-{name.replace('.', '-').replace('_', '-')}": partial(api_reference.names_of, name)
    for name in api_reference.MODULES
}


def documents() -> list[Path]:
    """Return all documents that may have generated parts."""
    below = (path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)
    return [*sorted(ROOT.glob("*.md")), *sorted(below), ROOT / "tests" / "README.md"]


def render(text: str) -> str:
    """Return the text of a document with new generated parts; KeyError for an unknown part."""
    return _PART.sub(lambda part: f"{part['head']}{PARTS[part['name']]()}{part['foot']}", text)


def main() -> None:
    for path in documents():
        text = path.read_text(encoding="utf-8")
        if (rendered := render(text)) != text:
            path.write_text(rendered, encoding="utf-8")


if __name__ == "__main__":
    main()
