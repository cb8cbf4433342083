"""Sign-in of a person in a browser: a page that asks, and the code that the client gets for the answer.

The person is who ``login_hint`` names. They say yes to everything that is asked; ``emulator_answer`` in the address makes
it ``no``, or ``nothing``, which is yes without a tick at Drive.
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
    """Codes that were not used yet. Not thread-safe; the service calls it under its lock."""

    def __init__(self, identifiers: Identifiers) -> None:
        self._identifiers = identifiers
        self._codes: dict[str, tuple[Actor, str, str]] = {}

    def ask(self, query: Mapping[str, str]) -> Reply:
        """Answer the browser: send it back to the client's page."""
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
        """Return whose consent a code stands for; it counts once, for the client and the page that it was given to."""
        actor, back, challenge = self._codes.pop(form.get("code", ""), (None, "", ""))
        if actor is None or form.get("redirect_uri") != back:
            return None
        # Clients say who they are in a header or in the form.
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
