"""``syft-flwr login``: log this participant in to its Google Drive."""

from pathlib import Path
from typing import Annotated

import typer

from syft_flwr.cli.arguments import current_project
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_note, show_text


def log_in(
    client_secrets: Annotated[
        Path | None,
        typer.Option(
            "--client-secrets",
            metavar="FILE",
            help="File of the OAuth client (type: desktop app), from Google's console.",
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address of the login instead of opening a browser.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Port on this machine to which Google sends the browser back; 0 is any free port."
        ),
    ] = 0,
    check: Annotated[bool, typer.Option("--check", help="Only check whether the stored login is valid.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Log in to Google Drive, and keep the login on this machine.

    Over SSH: choose a --port and forward it (ssh -L PORT:localhost:PORT).
    Then open the address in the browser of your own machine.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.transport._gdrive.api.requirements import require_google

    start_logging()
    # The email of the Google account may differ from the email of a SyftBox client on this machine.
    settings = load_settings(current_project(), transport="p2p")
    email = str(settings.require("email"))
    require_google()
    from syft_flwr.transport._gdrive.api import auth, browser_login

    stored = Path(settings.require("home")) / auth.TOKEN_FILE
    if check:
        account = auth.open_account(settings.gdrive_token_path, settings.gdrive_api, stored=stored)
        owner, source = browser_login.check_owner(account, email, timeout=settings.gdrive_timeout), account.source
    else:
        path = settings.gdrive_token_path or stored
        if path != stored:
            browser_login.require_replaceable(path)
        owner = browser_login.log_in(
            client_secrets or Path(settings.require("gdrive_client_secrets")),
            email,
            path,
            show=lambda url: show_note(f"Open this address in a browser:\n\n{url}\n"),
            browser=not no_browser,
            port=port,
            api=settings.gdrive_api,
            timeout=settings.gdrive_timeout,
        )
        source = f"token file {path}"
    if output is Format.JSON:
        show_json({"email": owner, "source": source})
    else:
        show_text(f"Logged in to Google Drive as {owner} ({source}).")
