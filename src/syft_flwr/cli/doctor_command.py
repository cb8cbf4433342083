"""``syft-flwr doctor``: find the problems of a participant, and show how to solve each of them."""

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from syft_flwr.cli.arguments import SettingsArgument, current_project
from syft_flwr.cli.exits import ExitCode
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_failure, show_json, show_note, show_table, show_text
from syft_flwr.text import counted, shortened

if TYPE_CHECKING:
    from syft_flwr.doctor.findings import Finding

#: Characters of the other columns of the table, and of the shortest result.
_OTHER_COLUMNS, _LEAST = 32, 20


def examine_participant(
    ctx: typer.Context,
    project: SettingsArgument = None,
    role: Annotated[
        str | None,
        typer.Option(metavar="server|client", help="The role of an email that is both aggregator and datasite."),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Leave out the checks that wait for a service, a program or a peer."),
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Check this participant, its machine and its peers. Show each problem, and how to solve it.

    PROJECT is the folder of a project; by default the current folder if it holds one.
    The exit code is 1 if a check found a problem.
    It also works while a server or a client runs. It changes nothing.
    """
    from syft_flwr.config import ROLES
    from syft_flwr.doctor.examination import examine
    from syft_flwr.doctor.findings import problems
    from syft_flwr.doctor.subject import Subject
    from syft_flwr.errors import SyftFlwrError

    if role is not None and role not in ROLES:
        raise typer.BadParameter(f"--role: allowed are {' and '.join(ROLES)}")
    start_logging()
    if output is Format.TABLE and sys.stdout.isatty():
        show_note("The checks take some seconds. If a service or a peer does not respond, they take up to 90.")
    subject = Subject.load(project or current_project(), role)
    try:
        found = examine(subject, offline=offline)
    finally:
        subject.close()
    bad = problems(found)
    fields = {"findings": [finding.as_fields() for finding in found]}
    if output is Format.TABLE:
        _show(found)
    if bad:
        names = ", ".join(dict.fromkeys(finding.check for finding in bad))
        error = SyftFlwrError(
            f"the doctor found {counted(len(bad), 'problem')}: {names}",
            hint="Each of them is shown with its fix.",
        )
        show_failure(ctx, error, fields)
        raise typer.Exit(ExitCode.FAILED)
    if output is Format.JSON:
        show_json(fields)
    else:
        show_text("No problem was found.")


def _show(found: "Sequence[Finding]") -> None:
    """Print all findings in a table, and then each one that needs a person, with its fix."""
    from syft_flwr.doctor.summary import rows_of

    # In a terminal, each result has one line; its full text is in the list below, or in the JSON output.
    room = max(_LEAST, shutil.get_terminal_size().columns - _OTHER_COLUMNS) if sys.stdout.isatty() else sys.maxsize
    rows = [(check, state, shortened(text, room)) for check, state, text in rows_of(found)]
    show_table("Checks", ("Check", "State", "Result"), rows)
    for state in ("problem", "unknown"):
        for each in found:
            if each.state == state and each.fix:
                show_text(f"{each.check} ({state}): {each.text}\n  Fix: {each.fix}\n")
