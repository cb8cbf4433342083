"""The account of one run, as text for people and as fields for JSON."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syft_flwr.cli.output import show_table, show_text
from syft_flwr.text import counted, role_word

if TYPE_CHECKING:
    from syft_flwr.runs.owner_counts import OwnerCounts
    from syft_flwr.runs.recorded_run import RecordedRun

#: Failures and warnings that the text shows; the latest ones.
_SHOWN = 20


def fields_of_run(run: "RecordedRun") -> dict[str, Any]:
    """Return the fields for JSON. Ids are strings, because they are larger than the safe integers of JSON."""
    from syft_flwr.runs.view import state_now

    known = run.has_record
    return {
        **({"local": run.local} if run.local else {}),
        "run-id": run.id,
        "app": run.app,
        "role": run.role,
        "participant": run.participant,
        "state": state_now(run.state, run.updated, datetime.now(UTC)),
        "succeeded": bool(run),
        "cause": run.cause or run.refusal,
        "losses": [loss.as_fields() for loss in run.losses],
        "started": _moment(run.started),
        "updated": _moment(run.updated),
        "resumed": run.resumed,
        "round": run.round if known else None,
        "total-rounds": run.total_rounds or None,
        "asked": run.asked if known else None,
        "answered": run.answered if known else None,
        "failed": run.failed if known else None,
        "rounds": [
            {
                "round": each.number,
                "started": each.started.isoformat(),
                "seconds": each.seconds,
                "asked": each.asked,
                "answered": each.answered,
                "failed": each.failed,
            }
            for each in run.rounds
        ],
        "metrics": run.metrics,
        "data-owners": [
            {
                "email": email,
                "asked": each.asked,
                "answered": each.answered,
                "failed": each.failed,
                "last-failure": each.last_failure,
                "awaited-since": _moment(each.awaited_since),
                "last-heartbeat": _moment(each.last_heartbeat),
                "working-on": each.working_on[0] if each.working_on else None,
                "working-since": _moment(each.working_on[1]) if each.working_on else None,
            }
            for email, each in run.data_owners.items()
        ],
        "failures": [
            {
                "message": each.message,
                "data-owner": each.data_owner,
                "round": each.round,
                "reason": each.reason,
                "text": each.text,
            }
            for each in run.failures
        ],
        "warnings": [
            {"time": each.time.isoformat(), "level": each.level, "text": each.text, "peer": each.peer}
            for each in run.warnings
        ],
        "lost": run.lost,
        "paths": {
            "record": run.paths.record,
            "home": run.paths.home,
            "output": str(run.paths.output) if run.paths.output else None,
            "log": str(run.paths.log) if run.paths.log else None,
            "metrics-jsonl": str(run.paths.metrics_jsonl) if run.paths.metrics_jsonl else None,
            "metrics-csv": str(run.paths.metrics_csv) if run.paths.metrics_csv else None,
        },
    }


def show_account(run: "RecordedRun") -> None:
    """Print the account of a run for people."""
    from syft_flwr.runs.outcome import shown_losses, shown_state
    from syft_flwr.runs.view import state_now

    place = f", local run {run.local}" if run.local else ""
    show_text(f"Run {run.id} of {run.app}, {role_word(run.role)} {run.participant}{place}")
    why = run.cause or run.refusal
    text = f" ({why})" if why else f": {shown_losses(run.losses)}" if run.losses else ""
    state = state_now(run.state, run.updated, datetime.now(UTC))
    show_text(f"State: {shown_state(state, run.losses, run.refusal)}{text}")
    resumed = f", resumed {counted(run.resumed, 'time')}" if run.resumed else ""
    show_text(f"Started: {_shown(run.started)}, last event: {_shown(run.updated)}{resumed}")
    if run.has_record:
        show_text(f"Replies: {run.answered} of {run.asked}, {run.failed} failed; warnings: {len(run.warnings)}")
        _show_parts(run)
    else:
        show_text("The record of this run is missing, so its rounds and replies are not known.")
    if run.lost:
        show_text(f"The record is not complete: {run.lost} events were lost.")
    paths = run.paths
    for name, path in (
        *(("Record", paths.record), ("Log", paths.log), ("Output", paths.output)),
        *(("Metrics as JSON Lines", paths.metrics_jsonl), ("Metrics as CSV", paths.metrics_csv)),
    ):
        if path:
            empty = " (no files)" if name == "Output" and _is_empty(path) else ""
            show_text(f"{name}: {path}{empty}")


def _show_parts(run: "RecordedRun") -> None:
    rounds = [
        (each.number, _shown(each.started), f"{each.seconds:.1f}", f"{each.answered} of {each.asked}", str(each.failed))
        for each in run.rounds
    ]
    metrics = [
        (source, number, name, str(value))
        for source, by_round in run.metrics.items()
        for number, values in by_round.items()
        for name, value in values.items()
    ]
    owners = [
        (email, f"{each.answered} of {each.asked}", str(each.failed), each.last_failure, _awaited(each))
        for email, each in run.data_owners.items()
    ]
    failures = [(each.data_owner, each.round, each.reason, each.text) for each in run.failures[-_SHOWN:]]
    warnings = [(_shown(each.time), each.level, each.text) for each in run.warnings[-_SHOWN:]]
    tables = (
        ("Rounds", ("Round", "Started", "Seconds", "Replies", "Failed"), rounds),
        ("Metrics", ("Source", "Round", "Name", "Value"), metrics),
        ("Data owners", ("Data owner", "Replies", "Failed", "Last failure", "Awaited"), owners),
        ("Failed requests, the latest", ("Data owner", "Round", "Reason", "Text"), failures),
        ("Warnings, the latest", ("Time", "Level", "Text"), warnings),
    )
    for title, columns, rows in tables:
        if rows:
            show_table(title, columns, rows)


def _awaited(owner: "OwnerCounts") -> str:
    """Return since when a data owner is awaited, its work and its last heartbeat; empty if it is not awaited."""
    if owner.awaited_since is None:
        return ""
    work = f"; works on {owner.working_on[0]} since {_shown(owner.working_on[1])}" if owner.working_on else ""
    return f"since {_shown(owner.awaited_since)}{work}; last heartbeat: {_shown(owner.last_heartbeat)}"


def _is_empty(folder: Path) -> bool:
    with suppress(OSError):
        return not any(folder.iterdir())
    return True


def _moment(time: datetime | None) -> str | None:
    return time.isoformat() if time else None


def _shown(time: datetime | None) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}" if time else "-"
