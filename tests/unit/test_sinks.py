"""No text of a peer controls a terminal, hides a part of itself, or forges a line, in any place that shows it."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import click
import loguru
import pytest
import typer

from syft_flwr import log
from syft_flwr.cli import output
from syft_flwr.errors import StorageError, SyftFlwrError
from syft_flwr.log import logger
from syft_flwr.logbook.book import book
from syft_flwr.simulation.closing_report import Row
from syft_flwr.simulation.display import Display
from syft_flwr.text import escaped, is_visible, log_entry, printable

#: One character of each kind that no sink may pass.
HIDDEN = {
    "escape": "\x1b",
    "bell": "\x07",
    "carriage return": "\r",
    "tab": "\t",
    "delete": "\x7f",
    "operating system command of C1": "\x9d",
    "control sequence of C1": "\x9b",
    "next line": "\x85",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "override from right to left": "\u202e",
    "embedding": "\u202a",
    "isolate": "\u2066",
    "end of an isolate": "\u2069",
    "mark from right to left": "\u200f",
    "Arabic letter mark": "\u061c",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "soft hyphen": "\xad",
    "tag": "\U000e0041",
    "selector of a variant": "\U000e0100",
    "filler": "\u3164",
    "blank of Braille": "\u2800",
    "lone surrogate": "\udc9b",
    "private use": "\ue000",
}


@pytest.fixture(params=HIDDEN.values(), ids=HIDDEN.keys())
def character(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def text(character: str) -> str:
    return f"a{character}b"


@pytest.fixture(params=["utf-8", "ascii"])
def stream(request: pytest.FixtureRequest) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=request.param, newline="\n")


@pytest.fixture
def default_log() -> Iterator[list[str]]:
    """Return the lines that a destination of the user gets, in loguru's default format."""
    lines: list[str] = []
    sink = loguru.logger.add(lines.append)
    yield lines
    loguru.logger.remove(sink)


def shown_by(call: Callable[[], object], stream: io.TextIOWrapper) -> str:
    """Return the output of a call on a strict stream in the place of both outputs."""
    with redirect_stdout(stream), redirect_stderr(stream):
        call()
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(stream.encoding)


def require_clean(shown: str, character: str) -> None:
    assert "a" in shown
    assert "b" in shown
    assert character not in shown
    assert all(is_visible(line) for line in shown.split("\n"))


def test_cleaned_text_has_visible_characters_only(text: str) -> None:
    assert is_visible(printable(text))
    assert is_visible(escaped(text))


def test_value_of_a_peer_is_one_line_within_its_limit() -> None:
    assert printable("a\nb\r\nc\td") == "a b  c d"
    assert printable("\x1b" * 100, 10) == r"\x1b\x1b\x"


@pytest.mark.parametrize("plain", ["ASCII {x} [red]", "größe é", "日本語", "Δ…—", "नमस्ते", "🙂"])
def test_visible_text_stays_as_it_is(plain: str) -> None:
    assert printable(plain) == escaped(plain) == log_entry(plain) == plain


def test_error_and_its_hint_are_escaped(text: str, character: str) -> None:
    error = StorageError(text, hint=text)

    require_clean(error.diagnose(), character)
    require_clean("\n".join(error.__notes__), character)
    assert StorageError("one\ntwo").diagnose() == "one\ntwo"


def test_log_of_a_library_call_is_escaped(text: str, character: str, default_log: list[str]) -> None:
    logger.warning("{} is ignored: {}", text, f"why\n  {text}")
    logger.opt(depth=1).error("{}", text)

    assert len(default_log) == 2
    for entry in default_log:
        require_clean(entry, character)


def test_records_of_other_packages_are_not_changed(default_log: list[str]) -> None:
    logger.warning("ours")
    loguru.logger.warning("theirs \x07")

    assert "theirs \x07" in default_log[1]


def test_log_of_commands_is_escaped(text: str, character: str, stream: io.TextIOWrapper) -> None:
    # Also a line of another package.
    require_clean(shown_by(lambda: log.write_console(f"{text}\n"), stream), character)


@pytest.mark.parametrize("forged", ["12:00:00 ERROR    forged", "Error: forged", "Traceback (most recent call last):"])
def test_value_cannot_forge_an_entry_of_the_log(forged: str, default_log: list[str]) -> None:
    logger.warning("{} is ignored", f"name\n{forged}")

    assert f"\n  {forged}" in default_log[0]


def test_hint_keeps_its_line_in_the_log(default_log: list[str]) -> None:
    logger.warning("{}", StorageError("what", hint="do").diagnose())

    assert default_log[0].endswith("what\n  do\n")


@pytest.mark.parametrize("started", [True, False], ids=["command", "program"])
def test_prints_of_a_worker_are_escaped(
    text: str, character: str, stream: io.TextIOWrapper, monkeypatch: pytest.MonkeyPatch, started: bool
) -> None:
    monkeypatch.setattr(book, "started", started)

    require_clean(shown_by(lambda: book.printed(text), stream), character)
    require_clean(shown_by(lambda: book.relayed("ERROR", "app", f"{text}\nb"), stream), character)


def test_errors_of_a_worker_are_escaped(text: str, character: str, default_log: list[str]) -> None:
    book.relayed("ERROR", "ours", f"{text}\nValueError: {text}")

    require_clean(default_log[0], character)
    assert default_log[0].count("\n  ValueError: ") == 1


@pytest.mark.parametrize("show", [output.show_text, output.show_note], ids=["text", "note"])
def test_console_output_is_escaped(
    show: Callable[[str], None], text: str, character: str, stream: io.TextIOWrapper
) -> None:
    require_clean(shown_by(lambda: show(text), stream), character)


@pytest.mark.parametrize("width", ["200", "20"], ids=["wide", "narrow"])
def test_tables_are_escaped(
    width: str, text: str, character: str, stream: io.TextIOWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    shown = shown_by(lambda: output.show_table(text, ("One", "Two"), [(text, text * 9)]), stream)

    require_clean(shown, character)


def test_failure_is_escaped_also_as_json(text: str, character: str, stream: io.TextIOWrapper) -> None:
    context = typer.Context(click.Command("x"))
    context.meta[output._FORMAT] = output.Format.JSON
    shown = shown_by(lambda: output.show_failure(context, SyftFlwrError("why"), {"name": text}), stream)

    require_clean(shown, character)
    body, _, rest = shown.rpartition("}")
    assert json.loads(body + "}")["name"] == text
    assert "Error: why" in rest


def test_display_of_a_local_run_is_escaped(text: str, character: str, stream: io.TextIOWrapper, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(f"\x1b[31mred\x1b[0m {text}\n".encode(errors="replace"))
    row = Row(text, "client", "failed", 1, text, "1", 2, 0, 1.0, 1, text, log)

    def show() -> None:
        with Display() as display:
            display.show([row], None)
            display._show_tail(log)

    shown = shown_by(show, stream)

    require_clean(shown, character)
    assert "red" in shown


def test_text_outside_ascii_is_shown_on_a_console_of_ascii(stream: io.TextIOWrapper) -> None:
    shown = shown_by(lambda: output.show_table("größe", ("größe",), [("größe —",)]), stream)

    assert shown.count("größe" if stream.encoding == "utf-8" else r"gr\xf6\xdfe") == 3
