"""Sign-in with OAuth: refresh tokens of users and clients, and the access tokens that replace them."""

import json
import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive.drive_errors import bad_token, no_token
from syft_flwr.emulators.gdrive.identifiers import Identifiers
from syft_flwr.emulators.gdrive.records import Actor

SCOPE = "https://www.googleapis.com/auth/"
#: Full access, the default scope of a token.
FULL = (SCOPE + "drive",)
LIFETIME = timedelta(seconds=3599)
_URI = "https://oauth2.googleapis.com/token"


class Tokens:
    """All refresh and access tokens. Not thread-safe: the service calls it with its lock held."""

    def __init__(self, clock: Clock, identifiers: Identifiers) -> None:
        self._clock = clock
        self._identifiers = identifiers
        self._refresh: dict[str, Actor] = {}
        self._access: dict[str, tuple[Actor, datetime]] = {}
        self._revoked: set[str] = set()

    def write(self, email: str, path: Path, scopes: Iterable[str], client: str) -> None:
        """Write a token file for ``google-auth``, with mode 0600."""
        actor = Actor(email, client, frozenset(scopes))
        refresh = "1//0" + self._identifiers.token()
        self._refresh[refresh] = actor
        access, expires = self._mint(actor)
        document = {
            "type": "authorized_user",
            "client_id": client,
            "client_secret": secret_of(client),
            "refresh_token": refresh,
            "token": access,
            "token_uri": _URI,
            "scopes": sorted(actor.scopes),
            "universe_domain": "googleapis.com",
            "account": email,
            "expiry": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)

    def actor(self, authorization: str | None, method: str) -> Actor:
        """Return the user, client and scopes of the token in an ``Authorization`` header.

        Raises:
            DriveError: 401, the token is missing, unknown or expired.
        """
        if not authorization:
            raise no_token(method)
        actor, expires = self._access.get(authorization.removeprefix("Bearer ").strip(), (None, None))
        if actor is None or expires is None or expires <= self._clock.now():
            raise bad_token()
        return actor

    def owner(self, authorization: str | None) -> Actor | None:
        """Return the user, client and scopes of a token, even if it has expired or was revoked; None if it is unknown."""
        return self._access.get((authorization or "").removeprefix("Bearer ").strip(), (None, None))[0]

    def owner_of_form(self, form: Mapping[str, str]) -> Actor | None:
        return self._refresh.get(form.get("refresh_token", ""))

    def exchange(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Return status and body of the response to a refresh request."""
        actor = self.owner_of_form(form)
        if form.get("grant_type") != "refresh_token":
            return 400, _refusal("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")
        if actor is None or actor.email in self._revoked:
            return 400, invalid_grant()
        if form.get("client_id") != actor.client or form.get("client_secret") != secret_of(actor.client):
            return 401, _refusal("invalid_client", "Unauthorized")
        asked = frozenset(form.get("scope", "").split()) or actor.scopes
        if not asked <= actor.scopes:
            return 400, _refusal("invalid_scope", "Some requested scopes were not granted.")
        access, _ = self._mint(Actor(actor.email, actor.client, asked))
        return 200, {
            "access_token": access,
            "expires_in": int(LIFETIME.total_seconds()),
            "scope": " ".join(sorted(asked)),
            "token_type": "Bearer",
        }

    def grant(self, actor: Actor) -> dict[str, Any]:
        """Return the response after a user's consent: an access token and a refresh token."""
        refresh = "1//0" + self._identifiers.token()
        self._refresh[refresh] = actor
        access, _ = self._mint(actor)
        return {
            "access_token": access,
            "expires_in": int(LIFETIME.total_seconds()),
            "refresh_token": refresh,
            "scope": " ".join(sorted(actor.scopes)),
            "token_type": "Bearer",
        }

    def expire(self, email: str | None) -> None:
        """Expire the access tokens of a user, or of all users if ``email`` is None."""
        now = self._clock.now()
        for access, (actor, _) in self._access.items():
            if email in {None, actor.email}:
                self._access[access] = (actor, now)

    def revoke(self, email: str) -> None:
        """Revoke all refresh tokens of a user, and expire the access tokens."""
        self._revoked.add(email)
        self.expire(email)

    def _mint(self, actor: Actor) -> tuple[str, datetime]:
        access = "ya29.a0" + self._identifiers.token()
        expires = self._clock.now() + LIFETIME
        self._access[access] = (actor, expires)
        return access, expires


def secret_of(client: str) -> str:
    """Return the secret of a client, which the emulator derives from its id."""
    return f"GOCSPX-{client.partition('.')[0]}"


def invalid_grant() -> dict[str, Any]:
    return _refusal("invalid_grant", "Token has been expired or revoked.")


def _refusal(error: str, description: str) -> dict[str, Any]:
    return {"error": error, "error_description": description}


def _scopes(names: str) -> frozenset[str]:
    return frozenset(SCOPE + name for name in names.split())


_READ = _scopes("drive drive.file drive.readonly drive.metadata drive.metadata.readonly")
_WRITE = _scopes("drive drive.file")
#: The scopes that each method accepts, from Google's published description.
_ACCEPTED = {
    "about.get": _READ,
    "changes.getStartPageToken": _READ,
    "changes.list": _READ,
    "drives.list": _scopes("drive drive.readonly"),
    "files.create": _WRITE,
    "files.delete": _WRITE,
    "files.download": _scopes("drive drive.file drive.readonly"),
    "files.emptyTrash": _scopes("drive"),
    "files.generateIds": _WRITE,
    "files.get": _READ,
    "files.list": _READ,
    "files.update": _scopes("drive drive.file drive.metadata"),
    "permissions.create": _WRITE,
    "permissions.delete": _WRITE,
    "permissions.get": _READ,
    "permissions.list": _READ,
    "permissions.update": _WRITE,
}


def may_call(actor: Actor, method: str) -> bool:
    """Return whether the scopes of a client allow a method."""
    return bool(actor.scopes & _ACCEPTED[method])
