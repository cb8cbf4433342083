"""Sign-in of a user in the browser: the consent page, and the codes that clients exchange for tokens.

The query parameter ``login_hint`` names the user. The emulated user grants all requested scopes by default. The query
parameter ``emulator_answer`` changes this: ``no`` refuses, and ``nothing`` grants the sign-in but no access to Drive.
"""

import base64
import hashlib
from collections.abc import Mapping
from urllib.parse import urlencode

from syft_flwr.emulators.gdrive.exchange import Reply
from syft_flwr.emulators.gdrive.identifiers import Identifiers
from syft_flwr.emulators.gdrive.records import Actor
from syft_flwr.emulators.gdrive.tokens import secret_of


class Consents:
    """The unused authorization codes. Not thread-safe: the service calls it with its lock held."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._identifiers = identifiers
        self._codes: dict[str, tuple[Actor, str, str]] = {}

    def ask(self, query: Mapping[str, str]) -> Reply:
        """Return the response to the browser: a redirect to the client's page, or 400 for an invalid request."""
        back = query.get("redirect_uri", "")
        if query.get("response_type") != "code" or not back.startswith(("http://localhost:", "http://127.0.0.1:")):
            return Reply(400, b"Access blocked: this request is invalid")
        state = {"state": query.get("state", "")}
        answer = query.get("emulator_answer", "yes")
        if answer == "no":
            return _redirect(back, {**state, "error": "access_denied"})
        code = "4/0" + self._identifiers.token()
        asked = "openid" if answer == "nothing" else query.get("scope", "")
        actor = Actor(query.get("login_hint", "").lower(), query.get("client_id", ""), frozenset(asked.split()))
        self._codes[code] = (actor, back, query.get("code_challenge", ""))
        return _redirect(back, {**state, "code": code, "scope": asked})

    def redeem(self, form: Mapping[str, str], authorization: str) -> Actor | None:
        """Return the user, client and scopes of an authorization code, or None if the code is not valid.

        A code works once, and only for the client and the redirect address that it was issued for.
        """
        actor, back, challenge = self._codes.pop(form.get("code", ""), (None, "", ""))
        if actor is None or form.get("redirect_uri") != back:
            return None
        # Clients send their id and secret in the Authorization header or in the form.
        said = f"{form.get('client_id', '')}:{form.get('client_secret', '')}".encode()
        if authorization.startswith("Basic "):
            said = base64.b64decode(authorization.removeprefix("Basic "))
        if said != f"{actor.client}:{secret_of(actor.client)}".encode():
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if challenge != base64.urlsafe_b64encode(digest).rstrip(b"=").decode():
            return None
        return actor


def _redirect(back: str, query: Mapping[str, str]) -> Reply:
    return Reply(302, b"", {"Location": f"{back}?{urlencode(query)}"})
