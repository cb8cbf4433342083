"""Chance that depends on what is decided and not on when, so that threads in any order see the same run."""

import hashlib
import math
from statistics import NormalDist

_NORMAL = NormalDist()


def draw(seed: int, *what: object) -> float:
    """Return a number from 0 up to 1, always the same one for the same ``what``."""
    digest = hashlib.blake2b(repr((seed, what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def lognormal(median: float, sigma: float, at: float) -> float:
    """Return the value of a lognormal distribution below which the fraction ``at`` lies."""
    return median * math.exp(sigma * _NORMAL.inv_cdf(min(max(at, 1e-9), 1 - 1e-9)))
