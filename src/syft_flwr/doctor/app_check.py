"""Checks that the apps of a project can be loaded, each in a process of its own."""

from collections.abc import Iterator

from syft_flwr.doctor.blocked import PROJECT, ROLE, SETTINGS, BlockedError
from syft_flwr.doctor.children import EndedEarlyError, TooLateError, run_child
from syft_flwr.doctor.findings import Finding, ok, problem, unknown
from syft_flwr.doctor.subject import Subject
from syft_flwr.errors import ConfigError
from syft_flwr.text import printable

#: Seconds for one app. Large libraries need many of them on a busy machine.
LIMIT = 30.0
_MODULE = "syft_flwr.doctor.app_child"
_FIX = "Correct the app, or install the packages of the project here; the reference is in [tool.flwr.app.components]."


def check_app(subject: Subject) -> Iterator[Finding]:
    """Load the ServerApp at the aggregator, and the ClientApp at a data owner, as a start would."""
    if subject.project is None:
        raise BlockedError("no project was named", PROJECT)
    try:
        project = subject.project_files()
    except ConfigError as error:
        raise BlockedError("the project cannot be read", PROJECT) from error
    command = subject.known.worker_command or ""
    references = {"server": project.server_app, "client": project.client_app}
    for kind in _kinds(subject):
        reference = references[kind]
        try:
            done = run_child(
                _MODULE,
                [kind, reference, str(project.folder)],
                LIMIT,
                command=command if kind == "client" else "",
                is_unwanted=subject.ended.is_set,
            )
        except TooLateError as error:
            yield unknown(f"{reference} takes long to load: {error}", "Import its module by hand, to see why.")
            continue
        except EndedEarlyError as error:
            yield problem(f"{reference} in {project.folder} cannot be loaded: {error}", _FIX)
            continue
        if text := printable(str(done.get("problem", "")), 1_000):
            yield problem(f"{reference} in {project.folder} cannot be loaded: {text}", _FIX)
        else:
            yield ok(f"{reference} can be loaded")


def _kinds(subject: Subject) -> list[str]:
    """Return the apps that this participant runs: the packages of the other app need not be installed here."""
    settings = subject.known
    if settings.role:
        return [settings.role]
    mine = {"server": subject.email == settings.aggregator, "client": subject.email in settings.datasites}
    if subject.error:
        raise BlockedError("the settings of the project cannot be read", SETTINGS)
    if not any(mine.values()):
        raise BlockedError("this participant has no part in the project", ROLE)
    return [kind for kind in mine if mine[kind]]
