"""Checks of the settings, of the participant that they name, and of its project."""

import os
from collections.abc import Iterator

from syft_flwr.config.misspelt import misspelt
from syft_flwr.config.search import DEFAULT
from syft_flwr.doctor.blocked import PROJECT, SETTINGS, BlockedError
from syft_flwr.doctor.findings import Finding, ok, problem, problem_of
from syft_flwr.doctor.subject import Subject
from syft_flwr.errors import ConfigError
from syft_flwr.runs.listing import runs_of
from syft_flwr.runs.peer_view import SILENT
from syft_flwr.runs.view import SILENT_AFTER

#: Settings that are shown with their value; the others only with their source, because a value can be private.
_SHOWN = ("transport", "email", "data_dir", "home")


def check_settings(subject: Subject) -> Iterator[Finding]:
    """Find settings that cannot be read, and tell the source of each one that has another value than the default."""
    if subject.error:
        yield problem_of(subject.error)
    if subject.settings is None:
        return
    named: dict[tuple[str, str], list[str]] = {}
    for name, error in subject.settings.problems.items():
        if name in ("email", "data_dir"):
            # One file can be the cause for both.
            named.setdefault((str(error), error.hint), []).append(name)
    for (text, hint), names in named.items():
        verb = "is" if len(names) == 1 else "are"
        yield problem(f"{' and '.join(names)} {verb} not set: {text}", hint or "Set it in the environment.")
    if subject.settings.email is None and "email" not in subject.settings.problems:
        yield problem("email is not set", "Set the environment SYFTBOX_EMAIL, or start the SyftBox client once.")
    for name, closest in misspelt(os.environ).items():
        advice = f"Did you mean {closest}?" if closest else "`syft-flwr config show` lists the settings."
        yield problem(f"the environment {name} is not a setting and is ignored", advice)
    yield ok("; ".join(_sources(subject)))


def _sources(subject: Subject) -> Iterator[str]:
    """Yield the participant and its places, then the other settings that were set, by their source."""
    by_source: dict[str, list[str]] = {}
    for setting in subject.known:
        if setting.name in _SHOWN and setting.value is not None:
            yield f"{setting.name} {setting.value} ({setting.source})"
        elif setting.source != DEFAULT and setting.name != "project_dir":
            by_source.setdefault(setting.source.partition(" ")[0], []).append(setting.name)
    for source, names in by_source.items():
        yield f"{', '.join(names)} ({source})"


def check_role(subject: Subject) -> Iterator[Finding]:
    """Find an email that has no part in the project, and settings that its participants need and that are missing."""
    settings = subject.known
    if subject.error:
        raise BlockedError("the settings of the project cannot be read", SETTINGS)
    if subject.project is None:
        raise BlockedError("no project was named", PROJECT)
    subject.email  # noqa: B018 - raises BlockedError
    try:
        role = settings.participant_role()
        for name in ("app_name", "aggregator", "datasites"):
            settings.require(name)
    except ConfigError as error:
        yield problem_of(error)
        return
    word = {"server": "the aggregator", "client": "a data owner"}[role]
    running = [side for side in ("server", "client") if subject.is_served(side)]
    app = subject.app.app if subject.app and running else None
    if still := [run.id for run in runs_of(subject.home)[0] if (run.app, run.state) == (app, SILENT)] if app else []:
        silence = f"run {still[-1]} has no event for more than {SILENT_AFTER:.0f} s"
        text = f"the {running[0]} of {settings.app_name} stands still: {silence}"
        yield problem(text, "Continue a stopped process with `kill -CONT`. Otherwise end it, and start it again.")
        return
    state = f"its {running[0]} runs now" if running else "it does not run now"
    yield ok(f"{settings.email} is {word} of {settings.app_name}; {state}")


def check_project(subject: Subject) -> Iterator[Finding]:
    """Find a project that Flower or this package cannot read."""
    found = subject.project_files()
    yield ok(f"{found.folder}: serverapp {found.server_app}, clientapp {found.client_app}")
    settings = subject.settings
    data = settings.user_data_dir if settings and settings.email in settings.datasites else None
    if data is not None and not data.exists():
        yield problem(f"DATA_DIR names {data}, which does not exist", "Set DATA_DIR to the folder of the private data.")
