"""The name of an app: its allowed form, and the valid name for one that syft-flwr 0.5 made.

syft-flwr 0.5 wrote ``<email of the aggregator>_<name of the project>_<time>`` into a project. The valid name is a pure
function of this text. So participants agree on it, also if only some of them ran ``syft-flwr bootstrap``:

    >>> normalise_app_name("ds@x.org_fed-analytics_1795667394")
    'fed-analytics-409658863e86'
"""

import hashlib
import re

from syft_flwr.errors import ConfigError
from syft_flwr.names import is_carried

_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RULE = "1 to 64 letters, digits, '_', '-' and '.', the first a letter or digit, without '..'"
_CARRIED_RULE = "a name that SyftBox synchronises; it skips or refuses folders of this name"
_PREFIX = "flwr/"

#: The form of syft-flwr 0.5. A person may have removed the time.
_OLD_FORM = re.compile(r"[^@/\s]+@[^@/_\s]+_(?P<project>[^/]+?)(?:_[0-9]+)?", re.DOTALL)
#: In characters. The rest of the 64 is for a hyphen and the digest.
_READABLE = 48
#: In hexadecimal digits: names of one aggregator differ in the time, which only the digest shows.
_DIGEST = 12


def normalise_app_name(name: str, *, what: str = "app_name") -> str:
    """Return the valid app name for ``name``, without the prefix ``flwr/``, which is optional for users.

    Raises:
        ConfigError: the name is not allowed, or SyftBox would not synchronise a folder of this name.
    """
    bare = name.strip().removeprefix(_PREFIX) if isinstance(name, str) else ""
    renamed = rename_old(bare)
    if renamed is not None:
        return renamed
    if not _FORM.fullmatch(bare) or ".." in bare:
        raise ConfigError.not_allowed(what, name, _RULE)
    if not is_carried(bare):
        raise ConfigError.not_allowed(what, name, _CARRIED_RULE)
    return bare


def rename_old(name: str) -> str | None:
    """Return the valid name for an app name of syft-flwr 0.5; None if ``name`` does not have its form.

    It is the name of the project and the start of the SHA-256 of the old name (UTF-8, without ``flwr/``).
    """
    bare = name.strip().removeprefix(_PREFIX)
    found = _OLD_FORM.fullmatch(bare)
    if found is None:
        return None
    digest = hashlib.sha256(bare.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    readable = re.sub(r"[^A-Za-z0-9]+", "-", found["project"])[:_READABLE].strip("-")
    renamed = f"{readable}-{digest}"
    return renamed if readable and is_carried(renamed) else f"app-{digest}"
