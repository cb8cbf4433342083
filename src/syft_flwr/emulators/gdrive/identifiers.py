"""Ids in the formats of Drive; the same seed gives the same ids."""

import hashlib
import random
import string
from functools import lru_cache

_ALPHABET = string.ascii_letters + string.digits + "-_"
_FILE_ID = 33
_ROOT_ID = 19
_ROOT_ENDING = "Uk9PVA"


class Identifiers:
    """Generates ids. Not thread-safe: the service calls it with its lock held."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"ids {seed}")

    def file(self) -> str:
        return "1" + self._letters(_FILE_ID - 1)

    def root(self) -> str:
        return "0A" + self._letters(_ROOT_ID - 2 - len(_ROOT_ENDING)) + _ROOT_ENDING

    def revision(self) -> str:
        return "0B" + self._letters(49) + "PQ"

    def token(self) -> str:
        """Return an opaque token for a page, an upload or a sign-in."""
        return self._letters(64)

    def _letters(self, count: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=count))


@lru_cache(maxsize=4096)
def permission_id(grantee: str) -> str:
    """Return the permission id of a grantee: 20 digits, the same on every file."""
    return f"{int.from_bytes(hashlib.sha256(grantee.encode()).digest()[:8]) % 10**20:020d}"
