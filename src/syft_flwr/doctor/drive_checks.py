"""Checks of the login to Google Drive, and of the space of its account. They show no token, and no text of Google."""

import shlex
import stat
from collections.abc import Iterator

from syft_flwr.doctor.blocked import BlockedError
from syft_flwr.doctor.findings import Finding, ok, problem
from syft_flwr.doctor.subject import Subject
from syft_flwr.errors import LoginError, SyftFlwrError

#: Bytes of free space for the files of one round.
_LEAST_SPACE = 100 << 20


def check_login(subject: Subject) -> Iterator[Finding]:
    """Find a login that is missing, not valid, of another account, or without a needed right."""
    subject.email  # noqa: B018 - raises BlockedError
    path = subject.token_path
    # The stored login is in the home, which a check of its own looks at.
    named = subject.known.gdrive_token_path
    if named is not None and named.is_file() and stat.S_IMODE(named.stat().st_mode) & 0o077:
        yield problem(f"{named} can be read by others", f"Run: chmod 600 {shlex.quote(str(named))}")
    facts = subject.drive()
    source = f"token file {path}" if path else facts.source
    yield ok(f"logged in as {facts.owner} ({source}); files can be written and read")


def check_drive_space(subject: Subject) -> Iterator[Finding]:
    """Find an account without room for messages."""
    try:
        free = subject.drive().free
    except LoginError as error:
        raise BlockedError("the login does not work", "drive-login") from error
    except SyftFlwrError as error:
        raise BlockedError("Google Drive did not respond as it should", "drive-login") from error
    if free is None:
        yield ok("the account has no limit")
    elif free < _LEAST_SPACE:
        yield problem(
            f"{free / 1e6:.1f} MB are free in the account of {subject.email}",
            "Delete files and empty the trash at https://drive.google.com, or buy storage; `syft-flwr gc` deletes the files "
            "of crashed runs.",
        )
    else:
        yield ok(f"{free / 1e9:.1f} GB are free in the account")
