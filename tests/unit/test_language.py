"""The prose of the project keeps the language rules of CONTRIBUTING.md."""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_FOLDERS = ("src", "tests", "docs", "benchmarks", "fuzz", "examples", "templates")
_MAX_TEST_NAME = 60

#: Words that slow readers down, and the words to use in their place.
_WORDS = {
    r"[Ww]hat (is|was|are|were|it|they|he|a|the|others|we|comes|goes|has|had|an|one|each|this)\b": "a noun",
    r"\b([Nn]o|[Ss]ome|[Ee]very|[Aa]ny)body\b": "the participant, or a noun",
    r"\b(lies|lie|lay|lain)\b": "is stored, is in",
    r"\b([Ww]hoever|of whom)\b": "a noun",
    r"\bSay (that|whether|once|how|which|for|of)\b": "Return whether, Log",
    r"\b(anew|seldom|in vain|for ever)\b": "again, rarely, without result, always",
    r"\bnone of (ours|its|us|this|theirs|those|an)\b|\b(is|are|was|were) to be\b": "not ours, must be",
    r"\b[Ss]igns? of life\b": "heartbeat",
    r"\b(besides|in earnest)\b": "also",
    r"\b(go|goes|went) on\b": "continue",
}


def _files(suffix: str) -> list[Path]:
    below = [path for folder in _FOLDERS for path in (_ROOT / folder).rglob(f"*{suffix}")]
    below = [path for path in below if "_build" not in path.parts]
    return sorted([*below, *_ROOT.glob(f"*{suffix}")])


def _python(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring and comment, and of each text of more than one word."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)) if _is_prose(path, text):
                yield node.lineno, text
    comment, last = "", 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            # A sentence may continue on the next line.
            comment = f"{comment if token.start[0] == last + 1 else ''} {token.string.lstrip('#: ')}"
            last = token.start[0]
            yield last, comment


def _is_prose(path: Path, text: str) -> bool:
    # This file quotes the words that it forbids.
    return " " in text and path.name != Path(__file__).name


def _markdown(path: Path) -> Iterator[tuple[int, str]]:
    text = re.sub(r"```.*?```|`[^`]*`", lambda code: "\n" * code[0].count("\n"), path.read_text("utf-8"), flags=re.S)
    for paragraph in re.finditer(r"(?:.+\n?)+", text):
        yield text.count("\n", 0, paragraph.start()) + 1, re.sub(r"^> ?", "", paragraph[0], flags=re.M)


_READERS = {".py": _python, ".md": _markdown}


def _read(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of the prose in a file, with one space between words."""
    yield from ((line, " ".join(text.split())) for line, text in _READERS[path.suffix](path))


@cache
def _prose() -> list[tuple[str, str]]:
    paths = [path for suffix in _READERS for path in _files(suffix)]
    return [(f"{path.relative_to(_ROOT)}:{line}", text) for path in paths for line, text in _read(path)]


@pytest.mark.parametrize("words", _WORDS)
def test_prose_uses_plain_words(words: str) -> None:
    found = [place for place, text in _prose() if re.search(words, text)]
    assert not found, f"write {_WORDS[words]}:\n" + "\n".join(found)


def test_the_readers_find_the_prose() -> None:
    read = Counter(place.partition("/")[0] + Path(place.partition(":")[0]).suffix for place, _ in _prose())
    assert read["src.py"] > 3_000
    assert read["tests.py"] > 3_000
    assert read["docs.md"] > 500
    assert sum(len(text.split()) for _, text in _prose()) > 100_000


#: For each entry of _WORDS, in its order, a sentence that breaks it.
_BAD = [
    "Return what a peer wrote.",
    "The file has nobody to read it.",
    "The file lies in the folder.",
    "Tell whoever waits.",
    "Say whether it ended.",
    "It starts anew after that.",
    "The key is to be compared.",
    "It writes a sign of life.",
    "No file exists besides this.",
    "The run goes on after that.",
]
_FORMS = {
    "module.py": '"""{}"""',
    "function.py": 'def f():\n    """Do it.\n\n    {}\n    """',
    "async.py": 'async def f():\n    """{}"""',
    "comment.py": "# {}\n",
    "attribute.py": "#: {}\n",
    "trailing.py": "a = 1  # {}\n",
    "raised.py": 'raise ConfigError(f"{{a}}: {}", hint="Do it.")',
    "hint.py": 'raise ConfigError("a text", hint="{}")',
    "variable.py": 'text = "{}"\nlogger.warning(text)',
    "log.py": 'self._logged.error(key, "{}", name)',
    "table.py": 'TABLE = {{"key": (LoginError, "{}")}}',
    "option.py": 'typer.Option(help="{}")',
    "sentence.md": "# Title\n\n{}\n",
    "row.md": "| text | cause |\n|---|---|\n| `code` | {} |\n",
}


@pytest.mark.parametrize(("words", "bad"), [*zip(_WORDS, _BAD, strict=True)])
@pytest.mark.parametrize("form", _FORMS)
def test_each_pattern_is_found_in_each_form(tmp_path: Path, words: str, bad: str, form: str) -> None:
    path = tmp_path / form
    path.write_text(_FORMS[form].format(bad), encoding="utf-8")
    assert any(re.search(words, text) for _, text in _read(path))


@pytest.mark.parametrize(("words", "bad"), [*zip(_WORDS, _BAD, strict=True)])
@pytest.mark.parametrize(("name", "prefix"), [("a.py", "# "), ("a.py", "    #: "), ("a.md", ""), ("a.md", "> ")])
def test_a_pattern_is_found_across_lines(tmp_path: Path, words: str, bad: str, name: str, prefix: str) -> None:
    path = tmp_path / name
    path.write_text("".join(f"{prefix}{word}\n" for word in bad.split()), encoding="utf-8")
    assert any(re.search(words, text) for _, text in _read(path))


def test_test_names_are_short_and_unique() -> None:
    found = 0
    for path in _files(".py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for scope in (node for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef)):
            functions = (node for node in scope.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
            names = [node.name for node in functions if node.name.startswith("test_")]
            assert [name for name in names if len(name) > _MAX_TEST_NAME] == [], path
            assert len(names) == len(set(names)), path
            found += len(names)
    assert found > 1_000
