"""A pyproject.toml that a hostile aggregator wrote: each wrong value is a short ConfigError, within a bounded time."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syft_flwr.config import load_settings
from syft_flwr.config.run_config import read_run_config
from syft_flwr.config.search import FIELDS
from syft_flwr.config.sources import MAX_SIZE, load_toml
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator.project import FlowerProject

PROJECT_KEYS = [name for name, entry in FIELDS.items() if entry.project]
#: Values as TOML. None of them is allowed for any key of [tool.syft_flwr].
VALUES = {
    "a long text": f'"{"x" * 100_000}"',
    "control characters": '"\\u001b]52;c;eA==\\u0007\\u202e\\n"',
    "an integer of 60,000 digits": f"0x{'f' * 50_000}",
    "a negative integer": "-9223372036854775809",
    "not a number": "nan",
    "a date": "1979-05-27T07:32:00Z",
    "a list of lists": f"[{'[1],' * 10_000}]",
    "a deep list": f"{'[' * 90}{']' * 90}",
    "a table": '{ "\\u202e" = 1 }',
    "an empty text": '""',
    "a list of tables": "[{}, {}]",
}
#: Emails that look like, or fold to, the email of the aggregator or of each other.
EMAILS = (
    *("\u212aim@x.org", "k\u0131m@x.org", "K\u0130M@x.org", "\uff4b\uff49\uff4d@x.org", "kim@x.\uff4frg"),
    *("kim@x.org\u202e", "\u2066kim@x.org", "kim\u200b@x.org", "kim\u00ad@x.org", "ki\u0301m@x.org", "kim@x\u3002org"),
    *(
        "kim@x.org/..",
        "../kim@x.org",
        "kim@x.org\0",
        "kim@x.org\n[tool]",
        "kim@x.org,ben@x.org",
        "*@x.org",
        "kim@\u00df.org",
    ),
)


def write(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text)
    return folder


def refused(call: Callable[[], object]) -> str:
    """Return the text of the ConfigError, which must be short and printable."""
    with pytest.raises(ConfigError) as caught:
        call()
    text = caught.value.diagnose()
    assert all(line.isprintable() for line in text.split("\n"))
    assert len(text) < 2_000
    return text


def settings_of(folder: Path) -> Any:
    return load_settings(
        project_dir=folder, environ={}, home=folder / "home", email="me@x.org", data_dir=folder / "box"
    )


@pytest.mark.parametrize("value", VALUES)
def test_wrong_value_of_each_key_is_a_short_error(value: str, tmp_path: Path) -> None:
    for key in PROJECT_KEYS:
        folder = write(tmp_path, f"[tool.syft_flwr]\n{key} = {VALUES[value]}\n")
        assert f"{key} (" in refused(lambda: settings_of(folder))  # noqa: B023


@pytest.mark.parametrize("email", EMAILS, ids=ascii)
def test_email_that_only_looks_like_another_is_refused(email: str, tmp_path: Path) -> None:
    written = "".join(f"\\U{ord(character):08x}" for character in email)
    for line in (f'aggregator = "{written}"', f'datasites = ["kim@x.org", "{written}"]'):
        folder = write(tmp_path, f"[tool.syft_flwr]\n{line}\n")
        assert "is not a valid email" in refused(lambda: settings_of(folder))  # noqa: B023


def test_very_many_datasites_are_read_in_a_short_time(tmp_path: Path) -> None:
    emails = [f"{number:x}@x.org" for number in range(60_000)]
    text = ",".join(f'"{email}"' for email in emails)
    assert len(text) < MAX_SIZE
    began = time.process_time()

    assert settings_of(write(tmp_path, f"[tool.syft_flwr]\ndatasites = [{text}]")).datasites == tuple(emails)
    assert time.process_time() - began < 10
    assert "is listed twice" in refused(
        lambda: settings_of(write(tmp_path, f'[tool.syft_flwr]\ndatasites = [{text},"0@X.org"]'))
    )


@pytest.mark.parametrize("keys", ["worker_command", "\\u202e", "x" * 900_000, "a.b.c", "__proto__"])
def test_unknown_keys_are_a_short_error(keys: str, tmp_path: Path) -> None:
    text = f'"{keys}" = 1\n' + "".join(f"key{number} = 1\n" for number in range(1_000))
    assert "unknown key" in refused(lambda: settings_of(write(tmp_path, f"[tool.syft_flwr]\n{text}")))


REFERENCES = ("5", "[]", "{}", "true", f'"{"x" * 900_000}"', '"a:b\\u001b"', '"a:b\\u202e"', '"a:\\nb"')


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda text: text[:12])
@pytest.mark.parametrize("kind", ["serverapp", "clientapp"])
def test_reference_that_is_no_short_text_is_refused(kind: str, reference: str, tmp_path: Path) -> None:
    components = {"serverapp": '"a:b"', "clientapp": '"a:c"', kind: reference}
    lines = "".join(f"{name} = {value}\n" for name, value in components.items())
    folder = write(tmp_path, f"[tool.flwr.app.components]\n{lines}")

    assert "with serverapp and clientapp is missing" in refused(lambda: FlowerProject.load(folder))


#: TOML that is expensive to parse, or that Python's parser refuses with another exception than its own.
EXPENSIVE = {
    "a key of many parts": ".".join(["a"] * 500_000) + " = 1",
    "a key of quoted parts": " . ".join(['"a\\"."'] * 33) + " = 1",
    "a key of literal parts": ".".join(["''"] * 33) + " = 1",
    "a header of many parts": f"[{'.'.join(['a'] * 500_000)}]",
    "a header of a list": f"[[{'.'.join(['a'] * 33)}]]",
    "a key in a table": f"x = {{ y = 1, {'.'.join(['a'] * 33)} = 1 }}",
    "an integer of many digits": f"a = {'9' * 5_000}",
    "deep lists": f"a = {'[' * 500_000}",
    "deep tables": f"a = {'{a=' * 300_000}",
    "a lone surrogate": 'a = "\\ud800"',
    "a date that does not exist": "a = 1979-02-31",
    "quotes without an end": '"\\' * 500_000,
}


@pytest.mark.parametrize("kind", EXPENSIVE)
def test_expensive_toml_is_refused_in_a_short_time(kind: str, tmp_path: Path) -> None:
    folder = write(tmp_path, EXPENSIVE[kind])
    for call in (settings_of, FlowerProject.load, read_run_config):
        assert "broken TOML" in refused(lambda: call(folder))  # noqa: B023


def test_key_of_32_parts_and_dotted_text_are_read() -> None:
    key = ".".join(["a"] * 32)
    lines = f'{key} = 1\n"{"b." * 31}" = 2\n# {"c. d " * 50}\ntext = "1.2.3, {"x.y " * 100}"\n'

    found = load_toml(lines)

    assert set(found) == {"a", "b." * 31, "text"}
