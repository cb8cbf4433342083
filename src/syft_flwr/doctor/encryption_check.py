"""Looks in the records of the latest runs for messages that were refused, because only one side has encryption on."""

from collections.abc import Iterator
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr.doctor.findings import Finding, ok, unknown
from syft_flwr.doctor.subject import Subject, require_home
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.record import record_path, runs_folder
from syft_flwr.runs.record_reader import read_entries

#: The field with the peer, for each event with a refusal, and for each one that shows that both sides agree.
_REFUSALS = {"request-ended": "data_owner", "request-refused": "aggregator"}
_AGREEMENTS = {"request-ended": "data_owner", "run-started": "aggregator", "run-resumed": "aggregator"}


def check_encryption(subject: Subject) -> Iterator[Finding]:
    """Find peers of which the last message showed that they have another setting."""
    home, app = require_home(subject), subject.needed_app
    ours, theirs = ("on", "off") if subject.known.encryption else ("off", "on")
    refused = _refused(runs_folder(home / "apps" / app.app), f"has encryption {theirs}, and it is {ours} here")
    for email in sorted(refused.keys() & set(subject.peers)):
        when = refused[email].time.strftime("%Y-%m-%d %H:%M")
        yield unknown(
            f"{email} had encryption {theirs} at its last message ({when} UTC), and it is {ours} here",
            advice(subject),
        )
    yield ok("no message of the latest run was refused because of encryption")


def advice(subject: Subject) -> str:
    """Return the next step of a person whose setting differs from that of a peer."""
    here = "true" if subject.known.encryption else "false"
    return f"Set SYFT_FLWR_ENCRYPTION_ENABLED to the same value at both sides; here it is {here}."


def _refused(folder: Path, text: str) -> dict[str, RecordEntry]:
    """Return the refusals with this text after which no message agreed, by the email of the peer."""
    paths = [record_path(folder, 0, "datasite")]
    for role in ("aggregator", "datasite"):
        paths += sorted(set(folder.glob(f"*.{role}.jsonl")) - set(paths), key=_changed)[-1:]
    found: dict[str, RecordEntry] = {}
    entries = (each for path in paths for each in read_entries(path) if each.event in _REFUSALS | _AGREEMENTS)
    for entry in sorted(entries, key=attrgetter("time")):
        fields = entry.fields
        if fields.get("reason") == Reason.ENCRYPTION and text in str(fields.get("text")):
            found[str(fields.get(_REFUSALS.get(entry.event, "")))] = entry
        elif entry.event in _AGREEMENTS and fields.get("outcome", "answered") == "answered":
            with suppress(KeyError):
                del found[str(fields.get(_AGREEMENTS[entry.event]))]
    return found


def _changed(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    # It was deleted at this moment.
    return 0.0
