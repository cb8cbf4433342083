"""``syft-flwr peers``: list, verify and accept the keys of the other participants."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from syft_flwr.cli.arguments import current_project
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_table, show_text

if TYPE_CHECKING:
    from syft_flwr._messaging.trust import Peer, Trust

commands = typer.Typer(invoke_without_command=True, help="List, verify and accept the keys of the other participants.")

EmailArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="The participant.")]


@commands.callback()
def group(ctx: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """List, verify and accept the keys of the other participants; without a command, list them."""
    if ctx.invoked_subcommand is None:
        list_peers(output)
    elif output is not Format.TABLE:
        raise typer.BadParameter(f"write --format after {ctx.invoked_subcommand}")


@commands.command("ls", hidden=True)
@commands.command("list")
def list_peers(output: FormatOption = Format.TABLE) -> None:
    """List the participants with a known key, and your own fingerprint.

    In the folder of a project, it also lists the project's participants
    that have published a key and are not known yet.
    """
    from syft_flwr.config import load_settings

    settings = load_settings(current_project())
    also = {*settings.datasites, *([settings.aggregator] if settings.aggregator else [])} - {settings.email}
    with _trust() as trust:
        own, peers, other = trust.own_fingerprint, trust.peers(also), trust.other_fingerprint()
    if output is Format.JSON:
        rows = [
            {
                "email": peer.email,
                "state": peer.state,
                "fingerprint": peer.fingerprint,
                "offered-fingerprint": peer.offered_fingerprint,
                "software": peer.software,
                "first-seen": peer.first_seen.isoformat() if peer.first_seen else None,
            }
            for peer in peers
        ]
        show_json({"own-fingerprint": own, **({"published-fingerprint": other} if other else {}), "peers": rows})
        return
    show_text(f"Your own fingerprint: {own}")
    if other:
        show_text(
            f"Your public folder has a key card with other keys, fingerprint {other}: the home of this machine was lost, or "
            "another machine uses your email. Restore the home, or stop the other machine. Otherwise, start your server or "
            "client here, and ask each peer to accept the new key."
        )
    rows_shown = [(peer.email, peer.state, peer.fingerprint, peer.software or "-", _seen(peer)) for peer in peers]
    if rows_shown:
        show_table("Peers", ("Email", "State", "Fingerprint", "Software", "First seen"), rows_shown)
    else:
        show_text("No key of another participant is known yet.")
    for peer in peers:
        if peer.state == "changed":
            show_text(
                f"{peer.email} now publishes another key, fingerprint {peer.offered_fingerprint}. Ask this person by phone."
                f" If the key is theirs: syft-flwr peers accept {peer.email}"
            )


@commands.command("verify")
def verify_peer(
    email: EmailArgument,
    fingerprint: Annotated[
        list[str], typer.Argument(metavar="FINGERPRINT...", help="The fingerprint, as the person told you.")
    ],
    output: FormatOption = Format.TABLE,
) -> None:
    """Mark the key of EMAIL as verified.

    That person must tell you the FINGERPRINT by phone or face to face.
    """
    from syft_flwr.emails import normalise

    peer = normalise(email)
    with _trust() as trust:
        trust.verify(peer, " ".join(fingerprint))
        pinned = _fingerprint(trust, peer)
    _show_done(output, peer, "verified", pinned)


@commands.command("accept")
def accept_peer(email: EmailArgument, output: FormatOption = Format.TABLE) -> None:
    """Replace the pinned key of EMAIL with the key that EMAIL publishes now.

    First ask that person, by phone or face to face, for the fingerprint of the new key.
    """
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


def _seen(peer: "Peer") -> str:
    return f"{peer.first_seen:%Y-%m-%d %H:%M} UTC" if peer.first_seen else "-"


def _fingerprint(trust: "Trust", email: str) -> str:
    return next(peer.fingerprint for peer in trust.peers() if peer.email == email)


def _show_done(output: Format, email: str, done: str, fingerprint: str) -> None:
    if output is Format.JSON:
        show_json({"email": email, "state": done, "fingerprint": fingerprint})
    else:
        show_text(f"{email}: fingerprint {fingerprint} {done}.")
