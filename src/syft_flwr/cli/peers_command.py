"""``syft-flwr peers``: list, compare and accept the keys of the other participants."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from syft_flwr.cli.arguments import current_project
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_table, show_text

if TYPE_CHECKING:
    from syft_flwr._messaging.trust import Trust

commands = typer.Typer(
    invoke_without_command=True, help="Compare, verify and accept the keys of the other participants."
)

EmailArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="The participant.")]


@commands.callback()
def group(ctx: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """Compare, verify and accept the keys of the other participants; without a command, list them."""
    if ctx.invoked_subcommand is None:
        list_peers(output)
    elif output is not Format.TABLE:
        raise typer.BadParameter(f"write --format behind {ctx.invoked_subcommand}")


@commands.command("ls", hidden=True)
@commands.command("list")
def list_peers(output: FormatOption = Format.TABLE) -> None:
    """List the participants whose keys are known, and this one's own fingerprint.

    In a project's folder, also its participants that were not met yet but have published a key.
    """
    from syft_flwr.config import load_settings

    settings = load_settings(current_project())
    also = {*settings.datasites, *([settings.aggregator] if settings.aggregator else [])} - {settings.email}
    with _trust() as trust:
        own, peers = trust.own_fingerprint, trust.peers(also)
    if output is Format.JSON:
        rows = [
            {
                "email": peer.email,
                "state": peer.state,
                "fingerprint": peer.fingerprint,
                "offered-fingerprint": peer.offered_fingerprint,
                "first-seen": peer.first_seen.isoformat() if peer.first_seen else None,
            }
            for peer in peers
        ]
        show_json({"own-fingerprint": own, "peers": rows})
        return
    show_text(f"Your own fingerprint: {own}")
    rows_shown = [
        (peer.email, peer.state, peer.fingerprint, f"{peer.first_seen:%Y-%m-%d %H:%M} UTC" if peer.first_seen else "-")
        for peer in peers
    ]
    if rows_shown:
        show_table("Peers", ("Email", "State", "Fingerprint", "First seen"), rows_shown)
    else:
        show_text("No other participant has been met yet.")
    for peer in peers:
        if peer.state == "changed":
            show_text(
                f"{peer.email} offers another key, fingerprint {peer.offered_fingerprint}. Ask the person whether it is theirs;"
                f" if so: syft-flwr peers accept {peer.email}"
            )


@commands.command("verify")
def verify_peer(
    email: EmailArgument,
    fingerprint: Annotated[list[str], typer.Argument(metavar="FINGERPRINT...", help="As the person told you.")],
    output: FormatOption = Format.TABLE,
) -> None:
    """Mark the key of EMAIL as compared with that person, who told you the FINGERPRINT by phone or face to face."""
    from syft_flwr.emails import normalise

    peer = normalise(email)
    with _trust() as trust:
        trust.verify(peer, " ".join(fingerprint))
        pinned = _fingerprint(trust, peer)
    _show_done(output, peer, "verified", pinned)


@commands.command("accept")
def accept_peer(email: EmailArgument, output: FormatOption = Format.TABLE) -> None:
    """Take the changed key of EMAIL in place of the pinned one."""
    from syft_flwr.emails import normalise

    peer = normalise(email)
    with _trust() as trust:
        trust.accept(peer)
        pinned = _fingerprint(trust, peer)
    _show_done(output, peer, "accepted", pinned)


@contextmanager
def _trust() -> Iterator["Trust"]:
    from syft_flwr.config import load_settings
    from syft_flwr.fl_orchestrator.participant import open_trust

    start_logging()
    with open_trust(load_settings(current_project())) as trust:
        yield trust


def _fingerprint(trust: "Trust", email: str) -> str:
    return next(peer.fingerprint for peer in trust.peers() if peer.email == email)


def _show_done(output: Format, email: str, done: str, fingerprint: str) -> None:
    if output is Format.JSON:
        show_json({"email": email, "state": done, "fingerprint": fingerprint})
    else:
        show_text(f"{email}: fingerprint {fingerprint} {done}.")
