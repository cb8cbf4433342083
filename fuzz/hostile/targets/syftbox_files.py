"""Fuzz the readers of SyftBox's own files: the rules of ``syftignore``, and the subscriptions.

The user writes these files, and programs of others may do so. A pattern must not keep the start busy.
"""

import contextlib
import json
from collections.abc import Iterator

from hostile import frames
from hostile.mutation import Mutate, mutate_frames
from syft_flwr.transport._syftbox.ignore_rules import IgnoreRules
from syft_flwr.transport._syftbox.subscription_file import SubscriptionFile, SubscriptionFileError

_NAMES = (
    "anna@example.org/app_data/flwr/diabetes_prediction/rpc/messages/ben@example.org/" + "0a" * 16 + ".request",
    "anna@example.org/public/syft_flwr.json",
    "a" * 64 + "@example.org/app_data/flwr/" + "a" * 64 + "/objects/aa/" + "a" * 32 + ".blob",
)
#: One subscription has up to 64 alternatives.
STEPS_OF_A_BYTE = 500
# The first use loads a library, which is no step of a reader.
IgnoreRules.parse("")


def seeds() -> Iterator[bytes]:
    rules = (
        "*.tmp",
        "!*.request",
        "/logs/",
        "**/dist",
        "a?b",
        "[a-z]*",
        "# comment",
        "\\",
        "x/**/*.y",
        "*a" * 30,
        "a/" * 9,
    )
    rule = {"action": "allow", "datasite": "*@example.org", "path": "app_data/{flwr,rpc}/**"}
    hard = {"action": "block", "datasite": "{a,b}" * 20, "path": "*a" * 200 + "{" * 50}
    deep = {"action": "pause", "datasite": "", "path": "**/" * 100 + "x"}
    for listed in ([], [rule], [hard], [deep, rule], [{"action": None}], [[]]):
        subscriptions = json.dumps({"defaults": {"action": "block"}, "rules": listed}).encode()
        yield frames.join(["\n".join(rules).encode(), subscriptions])


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    return mutate_frames(data, max_size, seed, inner)


def check(data: bytes) -> None:
    """Check that each rule and each subscription is applied to some names, or refused."""
    rules, subscriptions = frames.split(data, 2)[:2]
    found = IgnoreRules.parse(rules.decode(errors="replace"))
    for name in _NAMES:
        assert found.matching(name) is None or found.matching(name) in {rule for rule, _ in found.rules}
    with contextlib.suppress(SubscriptionFileError, ValueError, RecursionError):
        parsed = SubscriptionFile.parse(json.loads(subscriptions))
        for name in _NAMES:
            assert parsed.allow(name) in (True, False)
