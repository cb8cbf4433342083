"""The subscriptions of SyftBox's development branch: which files of others a client synchronises.

Rules, as in its ``internal/client/subscriptions`` and ``internal/client/sync/subscriptions_helpers.go``:

* The file is ``<data_dir>/.data/syft.sub.yaml``. Without it, or with a damaged one, everything of others is blocked.
* The own datasite and all permission files are synchronised. The subscription file itself never is.
* The last rule with an action that applies decides. A rule with a datasite has a path below it; another has the whole path.
* Blocked files of others are deleted from the disk in each cycle. Paused ones stay as they are.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any

from syft_flwr.emulators.syftbox.globs import matches
from syft_flwr.emulators.syftbox.participant_home import ParticipantHome
from syft_flwr.emulators.syftbox.sync_names import is_permissions

FILE_NAME = "syft.sub.yaml"
_MAX_SIZE = 256 << 10


class SubscriptionAction(StrEnum):
    ALLOW = "allow"
    PAUSE = "pause"
    BLOCK = "block"


_ACTIONS = {"": SubscriptionAction.BLOCK, "deny": SubscriptionAction.BLOCK} | {
    str(one): one for one in SubscriptionAction
}


class Subscriptions:
    """The subscriptions of one participant, read again at each question."""

    def __init__(self, participant: ParticipantHome) -> None:
        self._owner = participant.email.casefold()
        self._path = participant.client_state / FILE_NAME

    def allow(self, name: str) -> bool:
        if is_permissions(name):
            return True
        return not _is_subscription_file(name) and self._action(name) is SubscriptionAction.ALLOW

    def block(self, name: str) -> bool:
        if is_permissions(name) or _is_subscription_file(name):
            return False
        return self._action(name) is SubscriptionAction.BLOCK

    def _action(self, name: str) -> SubscriptionAction:
        datasite, _, inner = name.partition("/")
        if datasite.casefold() == self._owner:
            return SubscriptionAction.ALLOW
        document = _read(self._path)
        try:
            action = _parse(_mapping(document.get("defaults")).get("action"))
            for rule in map(_mapping, document.get("rules") or ()):
                path, site = str(rule.get("path") or ""), str(rule.get("datasite") or "")
                if rule.get("action") is None:
                    continue
                if path and (matches(site, datasite) and matches(path, inner) if site else matches(path, name)):
                    action = _parse(rule.get("action"))
        except (ValueError, TypeError):
            return SubscriptionAction.BLOCK
        return action


def _is_subscription_file(name: str) -> bool:
    return name.rpartition("/")[2] == FILE_NAME


def _read(path: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        with path.open("rb") as file:
            return _mapping(yaml.safe_load(file.read(_MAX_SIZE)))
    except (OSError, yaml.YAMLError, ValueError):
        return {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _parse(action: object) -> SubscriptionAction:
    try:
        return _ACTIONS[str(action or "").strip().lower()]
    except KeyError:
        raise ValueError(f"unknown action {action!r}") from None
