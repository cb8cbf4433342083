"""Text for logs and terminals."""

import signal

import pytest

from syft_flwr.text import complete_lines, duration, last_shown, signal_name, size


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="the system has no real-time signals")
def test_signal_without_a_name_is_shown_by_its_number() -> None:
    assert signal_name(signal.SIGTERM) == "SIGTERM"
    assert signal_name(signal.SIGRTMIN + 3) == str(int(signal.SIGRTMIN) + 3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0s"), (59.9, "59s"), (60, "1m 0s"), (3725, "1h 2m"), (86_399, "23h 59m"), (266_400, "3d 2h")],
)
def test_duration_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 KB"),
        (9_960, "10 KB"),
        (999_499, "999 KB"),
        (999_500, "1.0 MB"),
        (10**16, "10000 TB"),
    ],
)
def test_size_has_a_decimal_unit(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("printed", "lines", "rest"),
    [
        ("one\ntwo\nthr", ["one", "two"], "thr"),
        ("10%\r20%\r30%", [], "30%"),
        # The return may be the first half of a line break.
        ("10%\r20%\r", [], "20%\r"),
        ("10%\r20%\r\nend\n", ["20%", "end"], ""),
        ("\n\r", [""], "\r"),
    ],
)
def test_printed_text_and_bytes_are_cut_in_the_same_way(printed: str, lines: list[str], rest: str) -> None:
    cut, left = complete_lines(printed)
    assert ([last_shown(line) for line in cut], left) == (lines, rest)
    as_bytes, left_bytes = complete_lines(printed.encode())
    assert ([last_shown(line).decode() for line in as_bytes], left_bytes.decode()) == (lines, rest)
