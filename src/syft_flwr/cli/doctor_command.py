"""``syft-flwr doctor``: find the problems of a participant, and show how to solve each of them."""

from typing import Annotated

import typer

from syft_flwr.cli.arguments import SettingsArgument, current_project
from syft_flwr.cli.exits import ExitCode
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_failure, show_json, show_table, show_text
from syft_flwr.text import counted


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
    subject = Subject.load(project or current_project(), role)
    try:
        found = examine(subject, offline=offline)
    finally:
        subject.close()
    bad = problems(found)
    fields = {"findings": [finding.as_fields() for finding in found]}
    if output is Format.TABLE:
        rows = [(each.check, each.state, each.text, each.fix) for each in found]
        show_table("Checks", ("Check", "State", "Result", "Fix"), rows)
        for each in found:
            # In a table, the lines of a file to write would become one.
            if "\n" in each.fix:
                show_text(f"\n{each.check}:\n{each.fix}")
    if bad:
        names = ", ".join(dict.fromkeys(finding.check for finding in bad))
        error = SyftFlwrError(
            f"the doctor found {counted(len(bad), 'problem')}: {names}",
            hint="The column Fix tells what to do about each.",
        )
        show_failure(ctx, error, fields)
        raise typer.Exit(ExitCode.FAILED)
    if output is Format.JSON:
        show_json(fields)
    else:
        show_text("No problem was found.")
