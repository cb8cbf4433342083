"""The documents agree with the code: generated parts, links, commands, quoted messages, protocol."""

import ast
import importlib.util
import itertools
import json
import math
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from error_texts import package, package_texts, symptom
from identities import old_card
from pydantic import BaseModel
from typer.main import get_command

from syft_flwr import errors
from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.asking.wait_limits import Limit
from syft_flwr._messaging.layout import lay_out
from syft_flwr._messaging.objects import ObjectFolder, make_body
from syft_flwr._messaging.wire import body as bodies
from syft_flwr._messaging.wire import card, envelope, heartbeat
from syft_flwr._messaging.wire.body import Body
from syft_flwr.cli.app import app as command_line
from syft_flwr.config import search
from syft_flwr.fl_orchestrator.request_config import config_to_buffer, with_config
from syft_flwr.names import AppNames
from syft_flwr.runs import view
from syft_flwr.transport._gdrive.streams import announcement
from syft_flwr.transport.memory import MemoryNetwork

_ROOT = Path(__file__).parents[2]
_SOURCES = sorted((_ROOT / "src").rglob("*.py"))
_FENCE = re.compile(r"^```(\w*|\{[\w-]+\})\n(.*?)^```$", re.S | re.M)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)|\[\[([^\]]+)\]\]")
_DS, _DO = "ds@research.org", "do@hospital.org"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, _ROOT / "docs" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _load("generate")
reader = _load("reference_reader")
_DOCUMENTS = {str(path.relative_to(_ROOT)): path.read_text(encoding="utf-8") for path in generate.documents()}
_ALL = pytest.mark.parametrize("name", _DOCUMENTS)


def _fences(text: str, language: str) -> list[str]:
    return [code for found, code in _FENCE.findall(text) if found == language]


def _inline(text: str) -> list[str]:
    return _INLINE.findall(_FENCE.sub("", text))


def _makefile_recipe(target: str) -> list[str]:
    text = (_ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(rf"^{target}:.*\n((?:\t.*\n?)+)", text, re.M)
    assert found, f"the Makefile has no target {target}"
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in found[1].splitlines()]


@_ALL
def test_generated_parts_are_up_to_date(name: str) -> None:
    text = _DOCUMENTS[name]
    assert generate.render(text) == text, "run: .venv/bin/python docs/generate.py"


def test_every_generated_part_is_used() -> None:
    opened = re.findall(r"<!-- generated: (\S+) -->", "".join(_DOCUMENTS.values()))
    closed = re.findall(r"<!-- end of (\S+) -->", "".join(_DOCUMENTS.values()))
    assert opened == closed
    assert set(opened) == set(generate.PARTS)


def test_every_setting_is_described() -> None:
    assert generate.SETTINGS.keys() == search.FIELDS.keys()


def test_error_tree_matches_the_classes() -> None:
    drawn: dict[str, set[str]] = {}
    path: list[str] = []
    for line in _fences(generate.error_tree(), "text")[0].splitlines():
        found = re.match(r"^([│├└─\s]*)(\w+)", line)
        assert found
        path[len(found[1]) // 4 :] = [found[2]]
        drawn.setdefault(found[2], set()).add(path[-2] if len(path) > 1 else "Exception")
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__]
    assert drawn == {kind.__name__: {base.__name__ for base in kind.__bases__} for kind in classes}


@_ALL
def test_every_link_leads_to_a_file(name: str) -> None:
    folder = (_ROOT / name).parent
    for target, wiki in _LINK.findall(_FENCE.sub("", _DOCUMENTS[name])):
        path = (target or wiki).partition("#")[0]
        if path and not path.startswith("https://") and path != "NNNN-name.md":
            assert (folder / path).exists(), f"{name} links to {path}"


def _anchors(text: str) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them: a second one of a name ends with ``-1``."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
        found.append(re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-"))
    return {
        f"{anchor}-{count}" if (count := found[:place].count(anchor)) else anchor for place, anchor in enumerate(found)
    }


@_ALL
def test_every_link_leads_to_a_heading(name: str) -> None:
    for target, _ in _LINK.findall(_FENCE.sub("", _DOCUMENTS[name])):
        path, _, anchor = target.partition("#")
        if anchor and "://" not in path:
            file = (_ROOT / name).parent / path if path else _ROOT / name
            assert anchor in _anchors(file.read_text(encoding="utf-8")), f"{name} links to {target}"


def test_anchors_are_those_of_github() -> None:
    text = "# A `b_c` (d), e & f\n```sh\n# no heading\n```\n## A [link](to.md)\n## A link\n"
    assert _anchors(text) == {"a-b_c-d-e--f", "a-link", "a-link-1"}


def test_every_command_is_in_the_reference() -> None:
    headings = re.findall(r"^## syft-flwr (.+)$", _DOCUMENTS["docs/cli.md"], re.M)
    assert headings == list(generate.command_reference.commands())


@_ALL
def test_named_source_files_exist(name: str) -> None:
    package = _ROOT / "src" / "syft_flwr"
    named = {code for code in _inline(_DOCUMENTS[name]) if re.fullmatch(r"[\w/]+/[\w]+\.py", code)}
    for code in named:
        assert (package / code).is_file() or (_ROOT / code).is_file(), f"{name} names {code}"


def test_tests_readme_names_every_kit() -> None:
    tests = _ROOT / "tests"
    page = _DOCUMENTS["tests/README.md"]
    linked = {(tests / target).resolve() for target, _ in _LINK.findall(page)}
    modules = {*tests.rglob("*.py"), *(_ROOT / "src" / "syft_flwr" / "testing").glob("*.py")}
    kits = {path for path in modules if not re.match(r"test_|conftest|__init__", path.name)}
    assert len(kits) > 30
    unnamed = {path for path in kits - linked if not path.is_relative_to(tests / "conformance" / "project")}
    assert not unnamed
    folders = {str(path.parent.relative_to(tests)) for path in tests.rglob("test_*.py")}
    assert folders <= set(_inline(page))


def test_message_steps_name_existing_calls() -> None:
    steps = _DOCUMENTS["docs/design.md"].partition("## Life of a message")[2].partition("### After a crash")[0]
    rows = re.findall(r"^\| \d+ \|.*\| `([\w/]+\.py)` \| `([\w.]+)` \|$", steps, re.M)
    assert len(rows) == len(re.findall(r"^\| \d+ \|", steps, re.M)) > 20
    for file, call in rows:
        tree: Any = ast.parse((_ROOT / "src" / "syft_flwr" / file).read_text(encoding="utf-8"))
        for name in call.split("."):
            tree = next((node for node in tree.body if getattr(node, "name", "") == name), None)
            assert tree, f"{file} has no {call}"


def test_module_docstring_begins_with_a_sentence() -> None:
    for path in _SOURCES:
        assert generate.purpose(path)


@_ALL
def test_named_variables_are_settings(name: str) -> None:
    known = {field.environment for field in search.FIELDS.values()} | {search.SYFTBOX_CONFIG}
    # Only the tests read these variables.
    known |= {f"SYFT_FLWR_TEST_{name}" for name in ("FLOWER", "GDRIVE_TOKENS", "OLD_EXAMPLES", "SYFTBOX")}
    named = set(re.findall(r"\b(?:SYFT_FLWR|SYFTBOX|GDRIVE)_[A-Z_]+\b", _DOCUMENTS[name]))
    assert named <= known


@_ALL
def test_named_make_targets_exist(name: str) -> None:
    lines = [*_inline(_DOCUMENTS[name]), *"\n".join(_fences(_DOCUMENTS[name], "sh")).splitlines()]
    for target in {found[1] for line in lines if (found := re.match(r"(?:\w+=\S+ )?make ([\w-]+)", line))}:
        assert _makefile_recipe(target)


def _commands(text: str) -> Iterator[tuple[list[str], bool]]:
    """Yield the arguments of each ``syft-flwr`` command, and whether it is a whole line of a code block."""
    for line in "\n".join(_fences(text, "sh")).replace("\\\n", " ").splitlines():
        if line.startswith("syft-flwr "):
            yield shlex.split(re.split(r"\s(?:>|2>|\||&|#)", line)[0])[1:], True
    for code in _inline(text):
        if code.startswith("syft-flwr ") and "COMMAND" not in code:
            yield shlex.split(code)[1:], False


@_ALL
def test_named_commands_exist(name: str) -> None:
    for arguments, whole in _commands(_DOCUMENTS[name]):
        command: Any = get_command(command_line)
        rest = list(arguments)
        while rest and hasattr(command, "commands"):
            assert rest[0] in command.commands, f"{name}: syft-flwr {' '.join(arguments)}"
            command = command.commands[rest.pop(0)]
        if rest or whole:
            # Raises for an unknown option or a wrong number of arguments. The command does not run.
            command.make_context("syft-flwr", rest)


def _texts_of_the_source() -> str:
    """Return all strings of the source, with an ellipsis for each value of an f-string."""
    found: list[str] = []
    for tree in package().trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(map(str, parts)))
    return "\n".join(found).replace("{}", "…")


def test_quoted_messages_are_in_the_source() -> None:
    source = _texts_of_the_source()
    errors_made = {text.symptom for text in package_texts()}
    tables = _DOCUMENTS["docs/troubleshooting.md"].partition("\n## Files\n")[0]
    quoted = [code for row in re.findall(r"^\| (`.*?) \|", tables, re.M) for code in _INLINE.findall(row)]
    assert len(quoted) > 100
    for message in quoted:
        if symptom(message) not in errors_made:
            for piece in re.split(r"…|: ", message):
                assert piece.strip() in source, f"{message!r}: {piece!r} is in no message of the source"


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("### 3.1 Header", envelope.Header),
        ("## 2. Keys", card._Card),
        ("## 4. Body", bodies.Manifest),
        ("## 4. Body", bodies.BufferRef),
        ("## 4. Body", bodies.ObjectRef),
        ("## 4. Body", bodies.Failure),
        ("## 4. Body", bodies.Seconds),
        ("## 7. Heartbeat", heartbeat._HeartbeatFile),
    ],
)
def test_protocol_describes_every_field(heading: str, model: type[BaseModel]) -> None:
    section = re.split(r"^##", _DOCUMENTS["docs/protocol.md"].split(heading, 1)[1], maxsplit=1, flags=re.M)[0]
    described = {code for row in re.findall(r"^\|.*\|$", section, re.M) for code in _INLINE.findall(row)}
    assert set(model.model_fields) <= described
    if model is envelope.Header:
        fields = re.findall(r"^\| `(\w+)` \|", section, re.M)
        assert sorted(fields) == sorted(model.model_fields)


def test_protocol_describes_drive_properties() -> None:
    section = _DOCUMENTS["docs/protocol.md"].split("## 15. Google Drive", 1)[1]
    described = {code for row in re.findall(r"^\|.*\|$", section, re.M) for code in _INLINE.findall(row)}
    said = announcement.Announcement("", 0, 0, ("a" * 33,) * announcement.ANNOUNCED).encode()
    ids = sorted(key for key in said if key.startswith("ids"))
    assert said.keys() - set(ids[1:-1]) | {"n", "low", announcement.STREAM, announcement.FILE} <= described


def _header(**changes: Any) -> envelope.Header:
    now = datetime(2026, 1, 31, 12, tzinfo=UTC)
    fields: dict[str, Any] = {
        "id": "ab" * 16,
        "kind": "request",
        "run": (1 << 63) - 1,
        "app": "diabetes",
        "sender": _DS,
        "recipient": _DO,
        "sender_key": "cd" * 16,
        "recipient_key": "ef" * 16,
        "type": "trainé",
        "group": "1",
        "created": now,
        "expires": now + timedelta(hours=12),
        "encryption": "mlkem768-x25519",
        "body_size": 1,
    }
    return envelope.Header(**fields | changes)


@pytest.mark.parametrize("encryption", ["mlkem768-x25519", "none"])
def test_reference_reader_reads_an_envelope(encryption: str) -> None:
    sender, recipient = Identity.generate(), Identity.generate()
    sealed_to = None if encryption == "none" else recipient.public
    data = envelope.encode(_header(encryption=encryption), b"what it says", sender, sealed_to)
    header, body = reader.read_envelope(data, sender.public.encoded, recipient.private_bytes)
    assert body == b"what it says"
    assert (header["run"], header["type"]) == ((1 << 63) - 1, "trainé")
    assert header["created"] == "2026-01-31T12:00:00.000+00:00"


@pytest.mark.parametrize("encryption", [True, False])
def test_reference_reader_reads_objects(encryption: bool) -> None:
    end = MemoryNetwork(part_size=(1 << 20) + 7).transport(_DO)
    names = AppNames("diabetes")
    buffers = [b"small", os.urandom((2 << 20) + 5), b"", os.urandom(9_000)]
    folder = ObjectFolder(end, names, _DO, encryption)
    body = make_body(buffers, folder, run=7, readers=[_DS])
    files = {ref.id: end.get(names.object(_DO, ref.id), max_size=1 << 30) for ref in body.manifest.objects}
    assert len(files) > 1
    assert reader.read_buffers(body.encode(), files) == buffers


def test_reference_reader_reads_run_configurations() -> None:
    values = {"lr": 0.5, "top": math.inf, "n": -(1 << 63), "off": False, "zero": 0, "model.name": "größe"}
    for head in (b"", b"message", os.urandom(9_000)):
        buffers = with_config([head, bytes(50_000)], config_to_buffer(values))
        inline = [len(head) < 9_000, True, False]
        objects = [bodies.ObjectRef(id="ab" * 16, size=60_000)]
        pieces = [[bodies.Piece(0, 0, 9_000)], [bodies.Piece(0, 9_000, 50_000)]]
        body = lay_out(buffers, inline, objects, pieces[int(inline[0]) :]).encode()
        assert reader.read_run_config(body) == values
    assert reader.read_run_config(lay_out([b"", config_to_buffer({})], [True, True], [], []).encode()) == {}


@pytest.mark.parametrize(
    "vector", json.loads((_ROOT / "tests/vectors/run_configs.json").read_text())["vectors"], ids=lambda v: v["name"]
)
def test_reference_reader_reads_each_valid_vector(vector: dict[str, Any]) -> None:
    if vector["expect"] == "ok":
        body = lay_out([b"", bytes.fromhex(vector["buffer"])], [True, True], [], []).encode()
        assert {key: str(value) for key, value in reader.read_run_config(body).items()} == vector["values"]


def test_reference_reader_reads_an_error() -> None:
    manifest, inline = reader.read_body(bodies.failure("stopped", "this run is over").encode())
    assert manifest == {"error": {"code": "stopped", "text": "this run is over"}}
    assert inline == b""
    assert bodies.decode(Body(bodies.Manifest(), b"").encode()).manifest == bodies.Manifest()


def test_reference_reader_reads_card_and_heartbeat() -> None:
    identity = Identity.generate()
    public, software = reader.read_card(card.write_card(_DO, identity, "syft-flwr 1.0.0"), _DO)
    assert (public, software) == (identity.public.encoded, "syft-flwr 1.0.0")
    assert reader.read_card(old_card(_DO, identity), _DO) == (public, "")
    assert reader.fingerprint(public) == identity.public.fingerprint
    beat = heartbeat.Heartbeat("data-owner", _DO, "diabetes", 2, 3, datetime.now(UTC), "ab" * 16, ("cd" * 16,))
    assert reader.read_heartbeat(beat.encode(identity), public)["running"] == "ab" * 16


def test_decisions_have_numbers_and_sections() -> None:
    names = sorted(path.name for path in (_ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert [name[:4] for name in names] == [f"{number:04}" for number in range(1, len(names) + 1)]
    for name in names:
        text = _DOCUMENTS[f"docs/adr/{name}"]
        assert text.startswith(f"# {name[:4]}: ")
        assert re.search(r"^Date: \d{4}-\d\d-\d\d\. Status: ", text, re.M)
        for section in ("Context", "Decision", "Consequences"):
            assert f"\n## {section}\n" in text, f"{name} has no {section}"


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = {"": project["project"]["dependencies"], **project["project"]["optional-dependencies"]}
    entries = itertools.chain(*groups.values(), *project["dependency-groups"].values())
    # A group can include another one.
    required = {re.split(r"[<>=~! ]", entry)[0] for entry in entries if isinstance(entry, str)}
    reasons = _DOCUMENTS["docs/adr/0007-dependencies.md"]
    assert [name for name in sorted(required) if f"`{name}" not in reasons] == []


def test_pre_commit_runs_make_check() -> None:
    text = (_ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"^ +entry: (.+)$", text, re.M) == _makefile_recipe("check")


def test_ci_calls_only_make() -> None:
    script = _ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert re.findall(r"^make .*$", script.read_text(encoding="utf-8"), re.M) == [
        "make check",
        "make test",
        "make test-large",
        "make test-kills",
        "make docs-check",
        "make browser-test",
        "make service-test",
        "make tracking-test",
        "make docs-test",
    ]
    workflow = (_ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert re.findall(r"run: (.+)$", workflow, re.M) == [
        "make check",
        "make test",
        "make test-large",
        "make test-kills",
        "make examples",
        "make tracking-test",
        "make docs-test",
        "make docs-check",
        "make browser-test",
        "make service-test",
    ]
    weekly = (_ROOT / ".github" / "workflows" / "audit.yml").read_text(encoding="utf-8")
    assert re.findall(r"run: (.+)$", weekly, re.M) == ["make audit", "make linkcheck"]
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pythons = [found[1] for entry in project["classifiers"] if (found := re.fullmatch(r".*Python :: (3\.\d+)", entry))]
    assert re.findall(r'"(3\.\d+)"', workflow) == pythons


def test_page_about_waits_has_each_text_of_the_status() -> None:
    page = _DOCUMENTS["docs/explanation/waiting.md"]
    steps = [text.partition(". ")[0] for text in view._NEXT_STEPS.values()]
    for text in (*view._LIMITS.values(), *steps, "No request was sent yet", "its key is awaited"):
        assert text in page
    assert set(Limit) <= set(re.findall(r"\w+", page))


def test_readme_shows_a_picture_after_one_screen() -> None:
    page = _DOCUMENTS["README.md"]
    before, picture, _ = page.partition("<img ")
    assert picture
    # As in a window of 120 columns, where a long line has several rows.
    assert sum(max(1, math.ceil(len(line) / 120)) for line in before.splitlines()) <= 25
    assert len(page.splitlines()) <= 130


def test_no_hint_installs_the_other_package_of_this_name() -> None:
    # The package of this name on PyPI is an earlier implementation, so a hint names a folder.
    places = [path for folder in ("src", "docs", "examples", "templates") for path in (_ROOT / folder).rglob("*")]
    texts = {
        path: path.read_text(encoding="utf-8") for path in places if path.suffix in {".py", ".md", ".ipynb", ".tmpl"}
    }
    wrong = re.compile(r"pip install [^`\n]*[\"' ]syft[-_]flwr(\[\w+\])?(?! @)[\"'`\s]")
    assert len(texts) > 100
    assert [str(path) for path, text in texts.items() if wrong.search(text)] == []
    assert wrong.search('pip install "syft-flwr[gdrive]"')
