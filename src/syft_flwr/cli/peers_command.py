"""``syft-flwr peers``: list, verify and accept the keys of the other participants."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from syft_flwr.cli.arguments import current_project
from syft_flwr.cli.examples import examples
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, show_json, show_table, show_text

if TYPE_CHECKING:
    from syft_flwr._messaging.trust import Peer, Trust

commands = typer.Typer(
    invoke_without_command=True,
    help="List, verify and accept the keys of the other participants.",
    epilog=examples(
        "syft-flwr peers", "syft-flwr peers verify do1@hospital-a.org ABCD EFGH IJKL MNOP QRST UVWX YZ23 4567"
    ),
)
_LIST_EXAMPLES = examples("syft-flwr peers list", "syft-flwr peers list --format json")

EmailArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="The participant.")]


@commands.callback()
def group(ctx: typer.Context, output: FormatOption = Format.TABLE) -> None:
    """List, verify and accept the keys of the other participants; without a command, list them."""
    if ctx.invoked_subcommand is None:
        list_peers(output)
    elif output is not Format.TABLE:
        raise typer.BadParameter(f"write --format after {ctx.invoked_subcommand}")


@commands.command("ls", hidden=True, epilog=_LIST_EXAMPLES)
@commands.command("list", epilog=_LIST_EXAMPLES)
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
                f" If the key is theirs: syft-flwr peers accept {peer.email} FINGERPRINT"
            )


@commands.command(
    "verify", epilog=examples("syft-flwr peers verify do1@hospital-a.org ABCD EFGH IJKL MNOP QRST UVWX YZ23 4567")
)
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
        verified = trust.verify(peer, " ".join(fingerprint))
        other = _other_key(trust, peer)
    _show_done(output, peer, "verified", verified, other)


@commands.command(
    "accept",
    epilog=examples(
        "syft-flwr peers accept do1@hospital-a.org",
        "syft-flwr peers accept do1@hospital-a.org ABCD EFGH IJKL MNOP QRST UVWX YZ23 4567",
    ),
)
def accept_peer(
    email: EmailArgument,
    fingerprint: Annotated[
        list[str] | None, typer.Argument(metavar="FINGERPRINT...", help="The fingerprint, as the person told you.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Pin the key of EMAIL with this FINGERPRINT in place of the old one, and mark it as verified.

    That person must tell you the FINGERPRINT by phone or face to face.
    Without it, the command shows the pinned and the published fingerprint, and asks.
    """
    from syft_flwr.emails import normalise

    peer = normalise(email)
    with _trust() as trust:
        compared = " ".join(fingerprint or ()) or _ask(trust, peer, output)
        accepted = trust.accept(peer, compared)
        other = _other_key(trust, peer)
    _show_done(output, peer, "accepted and verified", accepted, other)


def _ask(trust: "Trust", email: str, output: Format) -> str:
    """Show both fingerprints of a changed key; return the published one if a person says that it is right."""
    change = trust.change_of(email)
    if output is Format.JSON or not (sys.stdin.isatty() and sys.stdout.isatty()):
        from syft_flwr.errors import ConfigError

        raise ConfigError(
            f"no fingerprint was given to accept the new key of {email}, and this command asks only in a terminal and without "
            "--format json",
            hint=f"Ask this person for the fingerprint by phone, then run: syft-flwr peers accept {email} FINGERPRINT",
        )
    show_text(f"Pinned fingerprint of {email}:    {change.pinned}")
    show_text(f"Published fingerprint of {email}: {change.published}")
    if not typer.confirm(f"Has {email} told you the published fingerprint by phone or face to face?"):
        from syft_flwr.errors import TrustError

        raise TrustError(
            f"the published key of {email} was not accepted, and nothing was changed",
            hint=f"Ask this person for the fingerprint by phone. Until it is right, no message is exchanged with {email}.",
        )
    return change.published


@contextmanager
def _trust() -> Iterator["Trust"]:
    from syft_flwr.config import load_settings
    from syft_flwr.fl_orchestrator.participant import open_trust

    start_logging()
    with open_trust(load_settings(current_project())) as trust:
        yield trust


def _seen(peer: "Peer") -> str:
    return f"{peer.first_seen:%Y-%m-%d %H:%M} UTC" if peer.first_seen else "-"


def _other_key(trust: "Trust", email: str) -> str | None:
    """Return the fingerprint of the key that a peer publishes in place of the pinned one; None if there is none."""
    from syft_flwr.errors import RemoteProtocolError, TransportError, TrustError

    # The list shows a card that cannot be read.
    with suppress(TrustError, RemoteProtocolError, TransportError):
        return trust.change_of(email).published
    return None


def _show_done(output: Format, email: str, done: str, fingerprint: str, other: str | None) -> None:
    if output is Format.JSON:
        state = "changed" if other else "verified"
        show_json({"email": email, "state": state, "fingerprint": fingerprint, "offered-fingerprint": other})
        return
    show_text(f"{email}: fingerprint {fingerprint} {done}.")
    if other:
        show_text(
            f"But {email} now publishes another key, fingerprint {other}. No message is exchanged until it publishes the "
            "verified key again, or until you accept the other one."
        )
