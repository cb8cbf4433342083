"""The participants of the test vectors, with the private keys published there, and the app for their messages."""

import json
from pathlib import Path
from typing import Any

from syft_flwr._crypto.keys import Identity

VECTORS = Path(__file__).parents[2] / "tests" / "vectors"
ANNA_EMAIL, BEN_EMAIL = "anna@example.org", "ben@example.org"
APP = "diabetes_prediction"


def load(name: str) -> dict[str, Any]:
    """Return a file of test vectors."""
    return dict(json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8")))


def _identity(name: str) -> Identity:
    return Identity.decode(bytes.fromhex(load("envelopes")["keys"][name]["private"]))


#: The sender of the fuzzed files.
ANNA = _identity("anna")
#: The reader of the fuzzed files.
BEN = _identity("ben")
#: A third participant that the others do not trust.
EVE = _identity("eve")
PRIVATE = (ANNA.private_bytes, BEN.private_bytes)
