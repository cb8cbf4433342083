"""Completes the arguments of commands in a shell. It must answer at once, so it imports no large package."""

import os
import re
from contextlib import suppress
from pathlib import Path

#: The runs that a completion offers; the latest ones.
_MOST_RUNS = 50
_RECORD = re.compile(r"(?P<run>[0-9a-f]{16})\.(?:aggregator|datasite)\.jsonl")


def complete_runs(incomplete: str) -> list[str]:
    """Return the ids of the latest runs with a record on this machine that begin with ``incomplete``.

    Settings or folders that cannot be read give no ids: an error text would tear the line that a person types.
    """
    from syft_flwr.errors import SyftFlwrError

    found: dict[str, float] = {}
    with suppress(SyftFlwrError, OSError):
        for folder in _homes():
            for path in folder.glob("apps/*/runs/*.jsonl"):
                named = _RECORD.fullmatch(path.name)
                # Run 0 stands for events of no run.
                if named and (run := str(int(named["run"], 16))) != "0" and run.startswith(incomplete):
                    found[run] = max(found.get(run, 0.0), path.lstat().st_mtime)
    return sorted(found, key=lambda run: found[run], reverse=True)[:_MOST_RUNS]


def _homes() -> list[Path]:
    """Return the home of this participant, and the folders with the records of local runs."""
    from syft_flwr.config import load_settings
    from syft_flwr.config.search import FIELDS, SYFTBOX_CONFIG

    known = {"HOME", SYFTBOX_CONFIG, *(entry.environment for entry in FIELDS.values())}
    # Without the other variables, because a misspelt one is logged.
    settings = load_settings(environ={name: value for name, value in os.environ.items() if name in known})
    return [*([settings.home] if settings.home else []), *settings.base.glob("local/*/*")]
