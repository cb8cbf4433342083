"""The console: where lines of this package and of Flower go, and how a display takes them."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr

import pytest
from flwr.common.logger import console_handler

from syft_flwr.flower import log_to_console
from syft_flwr.log import console, write_console
from syft_flwr.logbook.book import book


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """Return Flower's logger with its console handler as this package sets it up."""
    monkeypatch.setattr(book, "started", False)
    log_to_console()
    yield logging.getLogger("flwr")
    for each in list(console_handler.filters):
        console_handler.removeFilter(each)


def test_standard_error_is_looked_up_for_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    write_console("one")
    with redirect_stderr(io.StringIO()) as other:
        write_console("two")
    write_console("three")

    assert (capsys.readouterr().err, other.getvalue()) == ("one\nthree\n", "two\n")


def test_display_takes_the_lines_while_it_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    outer: list[str] = []
    inner: list[str] = []
    with console(outer.append):
        with console(inner.append):
            write_console("first")
        write_console("second\n  more")
    write_console("third")

    assert (inner, outer) == (["first\n"], ["second\n  more\n"])
    assert capsys.readouterr().err == "third\n"


@pytest.mark.parametrize("error", [OSError, ValueError])
def test_line_goes_to_standard_error_if_a_display_fails(
    error: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: str) -> None:
        raise error

    with console(fail):
        write_console("line")

    assert capsys.readouterr().err == "line\n"


def test_line_without_a_standard_error_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        monkeypatch.setattr(sys, "stderr", stream)
        write_console("line")


def test_lines_of_flower_go_to_the_console_inert(flower: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with console(lines.append):
        flower.info("metric %s", "\x1b[31mred\x1b[0m\x9d0;title\x07\x1b")
        flower.debug("hidden, because the handler has the level INFO")
        try:
            raise KeyError("why")
        except KeyError:
            flower.exception("failed")
    flower.warning("later")

    assert lines[0] == "INFO :      metric red\\x9d0;title\\x07\\x1b\n"
    assert lines[1].startswith("ERROR :     failed\n  Traceback (most recent call last):\n")
    assert lines[1].endswith("  KeyError: 'why'\n")
    assert len(lines) == 2
    assert capsys.readouterr().err == "WARNING :   later\n"
