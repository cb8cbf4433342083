"""Ids in the forms that Drive gives them, the same ones for the same seed."""

import hashlib
import random
import string
from functools import lru_cache

_ALPHABET = string.ascii_letters + string.digits + "-_"
_FILE_ID = 33
_ROOT_ID = 19
_ROOT_ENDING = "Uk9PVA"


class Identifiers:
    """A source of ids. Not thread-safe; it is asked under the lock of the service."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"ids {seed}")

    def file(self) -> str:
        return "1" + self._letters(_FILE_ID - 1)

    def root(self) -> str:
        return "0A" + self._letters(_ROOT_ID - 2 - len(_ROOT_ENDING)) + _ROOT_ENDING

    def revision(self) -> str:
        return "0B" + self._letters(49) + "PQ"

    def token(self) -> str:
        """Return something that names a page or an upload and says nothing."""
        return self._letters(64)

    def _letters(self, count: int) -> str:
        return "".join(self._random.choices(_ALPHABET, k=count))


@lru_cache(maxsize=4096)
def permission_id(grantee: str) -> str:
    """Return the 20 digits by which a grantee is known on every file."""
    return f"{int.from_bytes(hashlib.sha256(grantee.encode()).digest()[:8]) % 10**20:020d}"
