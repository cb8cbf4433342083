"""A finding: the result of one check, with a text that is harmless in a terminal and in JSON."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from syft_flwr.errors import StoreError, SyftFlwrError
from syft_flwr.text import escaped

#: ``unknown``: the check could not decide. ``skipped``: it does not apply here, or needs something that is missing.
State = Literal["ok", "problem", "unknown", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The state that a check found, the text about it, and for a problem the next step of a person."""

    state: State
    text: str
    fix: str = ""
    #: The name of the check; the examination sets it.
    check: str = ""
    #: The check of the thing that is missing, for a skipped one.
    waits_for: str = ""

    def __post_init__(self) -> None:
        # A text can quote a peer, or a file of this machine with any name.
        object.__setattr__(self, "text", escaped(self.text))
        object.__setattr__(self, "fix", escaped(self.fix))

    def of(self, check: str) -> "Finding":
        """Return this finding as one of the named check."""
        return replace(self, check=check)

    def as_fields(self) -> dict[str, str]:
        """Return the finding for JSON: the text of a problem and that of another state have the same key."""
        return {
            "check": self.check,
            "state": self.state,
            "text": self.text,
            "fix": self.fix,
            "waits-for": self.waits_for,
        }

    def diagnose(self) -> str:
        """Return the text and, if there is one, the fix on a second line."""
        return f"{self.text}\n  {self.fix}" if self.fix else self.text


def ok(text: str) -> Finding:
    return Finding("ok", text)


def problem(text: str, fix: str) -> Finding:
    return Finding("problem", text, fix)


def unknown(text: str, fix: str = "") -> Finding:
    return Finding("unknown", text, fix)


def skipped(text: str, waits_for: str = "") -> Finding:
    return Finding("skipped", text, waits_for=waits_for)


def problem_of(error: SyftFlwrError) -> Finding:
    """Return the problem that an error of this package describes."""
    return problem(str(error), error.hint or "Read the text; docs/troubleshooting.md explains it.")


def of_database(error: StoreError) -> Finding:
    """Return the finding of a database that cannot be read: unknown for one of an older release, else a problem."""
    # The next start takes over its rows.
    return unknown(str(error), error.hint) if "an older release" in str(error) else problem_of(error)


def problems(found: Iterable[Finding]) -> list[Finding]:
    """Return the findings that are problems."""
    return [finding for finding in found if finding.state == "problem"]
