"""The texts of errors, and the reasons that travel, are explained in docs/troubleshooting.md."""

import re
from functools import cache
from pathlib import Path

import pytest
from error_texts import Source, UnreadableTextError, package, package_texts, symptom

from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr.doctor.table import CHECKS

_ROOT = Path(__file__).parents[2]
#: A person can mend the causes of these, so each tells how.
_MENDABLE = {
    "AppLoadError",
    "ChangedKeyError",
    "ConfigError",
    "LoginError",
    "QuotaError",
    "RunError",
    "StorageFullError",
    "StoreError",
    "TrustError",
}
PAGE = (_ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
#: Modules with a text that has no words of its own: it passes on the text of the operating system or of a table.
_PASS_ON = {
    "config/user_config.py",
    "files.py",
    "fl_orchestrator/record_check.py",
    "transport/_gdrive/api/refusals.py",
}


@cache
def _quoted() -> set[str]:
    """Return the texts in the columns of the page that list texts."""
    found: set[str] = set()
    columns: list[str] = []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        columns = (columns or cells) if cells else []
        for column, cell in zip(columns, cells, strict=False):
            if column in {"text", "texts"}:
                found |= {symptom(code) for code in re.findall(r"`([^`]+)`", cell)}
    return found


def test_every_error_text_is_on_the_page() -> None:
    texts = package_texts()
    assert len(texts) > 300
    missing = [f"{text.place}: {text.symptom}" for text in texts if text.has_words and text.symptom not in _quoted()]
    assert not missing, "describe these in docs/troubleshooting.md:\n" + "\n".join(missing)


def test_every_error_text_has_words() -> None:
    wordless = {text.place.rpartition(":")[0] for text in package_texts() if not text.has_words}
    assert wordless == _PASS_ON


def test_every_travelling_reason_is_on_the_page() -> None:
    section = PAGE.partition("\n## Errors in a round\n")[2].partition("\n## ")[0]
    codes = {code for row in re.findall(r"^\| (`.*?) \|", section, re.M) for code in re.findall(r"`([^`]+)`", row)}
    assert {str(reason) for reason in Reason} <= codes


def test_signs_of_faults_name_real_checks_and_reasons() -> None:
    section = PAGE.partition("\n## Signs of common faults\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 10
    for fault, status, doctor in rows:
        named = set(re.findall(r"(?:, |; )`([a-z-]+)`:", doctor))
        assert named <= {check.name for check in CHECKS}, fault
        assert named or doctor == "none", fault
        assert set(re.findall(r"failed with `([a-z-]+)`", status)) <= {str(reason) for reason in Reason}, fault


def _is_mendable(kind: str) -> bool:
    return not _MENDABLE.isdisjoint(package().family(kind))


def test_mendable_errors_have_a_hint() -> None:
    unhinted = [text for text in package_texts() if _is_mendable(text.kind) and not text.has_hint]
    assert [f"{text.place}: {text.template}" for text in unhinted] == []


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ('raise ConfigError("plain")', {"plain"}),
        ('raise errors.ConfigError(f"{a}: with {b!r} values")', {"with … values"}),
        ('raise StoreError("one " + ("two" if a else f"{b} three"))', {"one two", "one … three"}),
        ('def f():\n text = "assigned"\n raise ConfigError(text)', {"assigned"}),
        ('def f():\n state = "old" if a else "new"\n raise ConfigError(f"{b} is {state}")', {"… is old", "… is new"}),
        ('def f(text):\n raise ConfigError(text)\nf("passed")\nf(text="by name")', {"passed", "by name"}),
        ('class MineError(TrustError): ...\nraise MineError("a subclass")', {"a subclass"}),
        ('TABLE = {"key": (LoginError, "from a table", "a hint")}', {"from a table"}),
        ('NAMES = {"k": "looked up"}\ndef f():\n raise ConfigError(NAMES.get(k, "default"))', {"looked up", "default"}),
        ('def g():\n return "returned"\nraise ConfigError(g())', {"returned"}),
        ('failure(Reason.STOPPED, "travels")', {"travels"}),
        ('reason, text = Reason.STOPPED, "travels too"', {"travels too"}),
        ('failure(reason, "by a variable")', {"by a variable"}),
        ('failure(code="stopped", text="by name")', {"by name"}),
        ('def f(reason, text):\n failure(reason, text)\nf(reason_of(e), "by a helper")', {"by a helper"}),
        ('def f(text):\n failure(a, text + (f"; {b} more" if c else ""))\nf("base")', {"base", "base; … more"}),
        ('Failure(code=a, text=text[:9] if b else "short")\ntext = "cut"', {"cut", "short"}),
        ('Ended(reason=f"ended by {a}")\nEnded(kept=True)', {"ended by …"}),
        ('raise ConfigError(message="by name", hint="a hint")', {"by name"}),
        ('raise StoreError("from another") from error', {"from another"}),
        ('from syft_flwr.errors import ConfigError as Wrong\nraise Wrong("aliased")', {"aliased"}),
        ('raise ConfigError(\n "two "\n f"lines: {a!r:>9}"\n)', {"two lines: …"}),
        ('raise ConfigError("größer als „5“")', {"größer als „5“"}),
        ('async def f():\n text = "awaited"\n raise ConfigError(text)', {"awaited"}),
        (
            'g = lambda: ConfigError("of a lambda")\nh = [ConfigError("of a list") for a in b]',
            {"of a lambda", "of a list"},
        ),
        ('class A(ConfigError):\n def __init__(self, a):\n  super().__init__(f"{a} by init")', {"… by init"}),
        ('class A(ConfigError):\n def __init__(self):\n  ConfigError.__init__(self, "by base")', {"by base"}),
        (
            'class A(ConfigError):\n @classmethod\n def make(cls, a):\n  return cls(f"{a} made")\nraise A.make(1)',
            {"… made"},
        ),
        ('class A(ConfigError):\n def more(self):\n  return type(self)("of the same type")', {"of the same type"}),
        ('def f():\n kind = QuotaError if a else LoginError\n return kind("of a variable")', {"of a variable"}),
        ('def f(kind: type[ConfigError]):\n return kind("of a parameter")', {"of a parameter"}),
        ('KINDS = {"k": LoginError}\nraise KINDS[a]("of a dict")', {"of a dict"}),
        ('raise (LoginError if a else QuotaError)("of a condition")', {"of a condition"}),
        ('raise type(error)("of its type")', {"of its type"}),
        ('raise error.__class__("of its class")', {"of its class"}),
        ('raise self._kind("of an attribute")', {"of an attribute"}),
        ('TABLE = {LoginError: "by class"}', {"by class"}),
        ('TABLE = [("key", LoginError, "in a row", "a hint")]', {"in a row"}),
        ('_TEXT = "by name"\nTABLE = [[LoginError, _TEXT]]', {"by name"}),
        ('rule(LoginError, "in a call")\npartial(QuotaError, "in a partial")', {"in a call", "in a partial"}),
        ('def f(text):\n raise ConfigError(text)\ng = partial(f, "partly")\nf("fully")', {"partly", "fully"}),
        ('def f(*, text="by default"):\n raise ConfigError(text)\nf()\nf(text="given")', {"by default", "given"}),
        ('def f(text):\n text = text or "empty"\n raise ConfigError(text)\nf("given")', {"given", "empty"}),
        (
            'def f():\n text: str = "annotated"\n if (more := "bound"):\n  raise ConfigError(text or more)',
            {"annotated", "bound"},
        ),
        ('def f(text):\n def g():\n  raise ConfigError(text)\nf("from outside")', {"from outside"}),
        ('error.add_note("a note")', {"a note"}),
        ('raise ValueError("of another kind")', set()),
        ('raise typer.Exit("of another package")', set()),
        ("try: ...\nexcept (errors.StoreError, LoginError) as error:\n raise ConfigError(str(error))", set()),
        ("def f(error: Exception):\n if isinstance(error, StoreError):\n  failure(a, str(error))", set()),
    ],
)
def test_reader_finds_every_form_of_error_text(tmp_path: Path, source: str, texts: set[str]) -> None:
    (tmp_path / "module.py").write_text(source, encoding="utf-8")
    assert {text.symptom for text in Source(tmp_path).texts()} == texts


@pytest.mark.parametrize(
    "source",
    [
        "raise ConfigError(text)",
        "raise ConfigError(make()[0])",
        "raise StoreError(a.text)",
        "raise ConfigError(str(error))",
        "try: ...\nexcept OSError as error:\n raise ConfigError(str(error))",
        "try: ...\nexcept (StoreError, OSError) as error:\n failure(a, str(error))",
        'raise ConfigError("{} by format".format(a))',
        'raise ConfigError("%s by percent" % a)',
        'def f():\n text = "one"\n text += " and two"\n raise ConfigError(text)',
        'def f():\n for kind, text in TABLE:\n  raise kind(text)\nTABLE = [(LoginError, "in a row")]',
        "errors = [ConfigError(text) for text in texts]",
        "raise ConfigError(*parts)",
        "raise ConfigError(**parts)",
        "raise ConfigError()",
        "def f(text):\n raise ConfigError(text)\nf(*parts)",
        "def f(text):\n raise ConfigError(text)\nf(**parts)",
        'def f(text):\n raise ConfigError(text)\nf("a")\nf(b.text)',
        "def f(text):\n failure(a, text)\nf(b.text)",
        "failure(*parts)",
        "Failure(code=a, text=row.text)",
        "class A(ConfigError):\n def __init__(self):\n  super().__init__(self.text)",
        'class A(ConfigError):\n def __str__(self):\n  return "shown"',
        "def f():\n kind, text = TABLE[a]\n raise kind(text)\nTABLE = {}",
        'raise ConfigError("; ".join(parts))',
    ],
)
def test_unreadable_error_text_is_an_error(tmp_path: Path, source: str) -> None:
    (tmp_path / "module.py").write_text(source, encoding="utf-8")
    with pytest.raises(UnreadableTextError):
        list(Source(tmp_path).texts())
