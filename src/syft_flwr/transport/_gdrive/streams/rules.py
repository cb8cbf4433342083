"""Whose a file may be, by its name alone: the rules of the SyftBox layout, which a drive does not keep by itself.

Everything that a peer shares is hostile until it passes: a name counts only if its writer may write there.
"""

import re

_INBOX_FILE = re.compile(r"([^/]+)/app_data/flwr/[^/]+/rpc/messages/([^/]+)/[^/]+\.(?:request|response)")


def writer_of(name: str) -> str:
    """Return the one participant that reads and writes ``name`` beside the owner of the inbox, or its datasite's owner.

    A request in an inbox is its sender's, a response in an inbox is its owner's, and all else is its datasite's owner's.
    """
    inbox = _INBOX_FILE.fullmatch(name)
    return inbox[2] if inbox and name.endswith(".request") else name.partition("/")[0]


def may_write(writer: str, name: str) -> bool:
    """Say whether ``name`` may be a file of ``writer``'s: in its own datasite, or its own place in an inbox."""
    if name.startswith(f"{writer}/"):
        return True
    inbox = _INBOX_FILE.fullmatch(name)
    return inbox is not None and inbox[2] == writer


def is_in_inbox(name: str, inboxes: frozenset[str]) -> bool:
    """Say whether ``name`` lies below one of these folders, which end in ``/``."""
    return any(name.startswith(inbox) for inbox in inboxes)


def possible_writers(prefix: str, me: str) -> str | None:
    """Return the only participant that can have written below ``prefix``; None if there may be several."""
    segments = [segment for segment in prefix.split("/") if segment]
    if segments and segments[0] != me:
        return segments[0]
    # <me>/app_data/flwr/<app>/rpc/messages/<sender>/
    return segments[6] if len(segments) == 7 and segments[4:6] == ["rpc", "messages"] else None
