"""Writes the report of a run to a file."""

import os
from pathlib import Path

from syft_flwr.disk_errors import told
from syft_flwr.errors import ConfigError, NotFoundError, StorageError
from syft_flwr.files import write_private
from syft_flwr.report.facts import facts_of
from syft_flwr.report.page import BEGIN, page
from syft_flwr.report.svg import require_engine
from syft_flwr.runs.recorded_run import RecordedRun


@told()
def write_report(run: RecordedRun, path: str | Path | None = None) -> Path:
    """Write the report of a run as one HTML file that needs no network, and return its path.

    The file has mode 0600, because it has the emails of the participants. A file that is no report is not replaced.

    Args:
        run: a run from :func:`syft_flwr.open_run`, or the result of :func:`syft_flwr.run`.
        path: the file, or a folder for it; by default ``<app>-<run>.html`` in the current folder.

    Raises:
        TypeError: ``run`` is no run.
        ConfigError: a package of the extra ``report`` is missing, or another file has this path.
        StorageError: the file cannot be written.
    """
    if not isinstance(run, RecordedRun):
        raise TypeError(f"write_report() needs a run, as from open_run(), not {type(run).__name__}")
    target = Path(path) if path is not None else Path()
    if target.is_dir():
        target /= default_name(run)
    target = target.absolute()
    check_place(target)
    require_engine()
    data = page(facts_of(run)).encode()
    try:
        # The folder may be a link, as /tmp is on some systems.
        write_private(target.parent.resolve() / target.name, data)
    except NotFoundError as error:
        text = f"{target} cannot be written: its folder takes no files"
        raise StorageError(text, hint="Name a file in another folder.") from error
    return target


def check_place(path: Path) -> None:
    """Check that a report may be written to ``path``, or into it if it is a folder.

    Raises:
        ConfigError: another file is there, also a pipe, a device or a broken link.
    """
    is_other = not _is_report(path) if path.is_file() else os.path.lexists(path) and not path.is_dir()
    if is_other:
        raise ConfigError(
            f"{path} is not a report, so it is not replaced", hint="Name another file, or move this one away."
        )


def default_name(run: RecordedRun) -> str:
    """Return the name of the file of a report. The sides of a run have different names."""
    side = f"-{run.participant}" if run.role == "datasite" else ""
    return f"{run.app}-{run.id}{side}.html"


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(BEGIN)) == BEGIN.encode()
