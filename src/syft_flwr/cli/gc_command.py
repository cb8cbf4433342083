"""``syft-flwr gc``: delete files that earlier runs left."""

from typing import Annotated

import typer

from syft_flwr.cli.arguments import SettingsArgument, current_project
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_table, show_text

#: The words of the table for kinds of files. The JSON output keeps the kinds.
_SHOWN = {"response": "reply", "kept answers": "kept replies"}


def collect(
    project: SettingsArgument = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="List the files and delete nothing.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Delete the files that earlier runs of this participant left: requests, replies, objects and app states.

    Files of an unfinished run are kept, and the output says how to finish it. An app with a running server or client is skipped.
    PROJECT is the folder of a project, for its settings; by default the current folder.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.fl_orchestrator.garbage import collect_garbage
    from syft_flwr.fl_orchestrator.participant import open_participant

    start_logging()
    participant = open_participant(load_settings(project or current_project()), live=False)
    try:
        found, left = collect_garbage(participant, dry_run=dry_run)
    finally:
        participant.transport.close()
    total = sum(leftover.size for leftover in found)
    if output is Format.JSON:
        files = [{"app": each.app, "what": each.what, "name": each.name, "size": each.size} for each in found]
        show_json({"freed": 0 if dry_run else total, "files": files, "left-alone": left})
        return
    if found:
        rows = [(each.app, _SHOWN.get(each.what, each.what), each.name, f"{each.size:,}") for each in found]
        show_table("Left over", ("App", "What", "Name", "Bytes"), rows)
    for reason in left:
        show_text(f"Left alone: {reason}.")
    verb = "can be freed" if dry_run else "freed"
    show_text(f"{len(found):,} {'file' if len(found) == 1 else 'files'}, {total / 1e6:.1f} MB {verb}.")
