"""Decides the run configuration that the ClientApp of a data owner sees, and logs its differences to the own project.

The aggregator sends its values with each request. They replace those of the project, unless the data owner keeps its own
(the settings ``run_config`` and ``run_config_pins``).
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping

from syft_flwr.config.run_config import equal_values, shown_value
from syft_flwr.config.user_config import UserConfig, UserConfigValue
from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.request_config import config_to_buffer
from syft_flwr.log import logger

#: Keys in one line of the log, in addition to those of the own project.
_MOST_SHOWN = 20
#: A key that cannot be taken for a value or for several keys.
_PLAIN_KEY = re.compile(r"[\w.-]+")


class OwnerConfig:
    """The run configuration at one data owner.

    Args:
        project: the values of the own project.
        policy: ``sent`` if values of the aggregator replace them, ``own`` if none does.
        pins: values that always apply.
    """

    def __init__(self, project: UserConfig, policy: str, pins: Mapping[str, UserConfigValue]) -> None:
        self._project = project
        self._takes_sent = policy == "sent"
        self._pins = dict(pins)
        self._pinned = {_path(key) for key in self._pins}
        self._above_pins = {above for key in self._pins for above in _beginnings(_path(key))}
        #: For each run, the digest of the configuration in its requests.
        self._digests: dict[int, str] = {}

    def warn_of_unused_pins(self) -> None:
        """Log the pins that the project does not know: a wrong name protects nothing."""
        unknown = sorted(self._pins.keys() - self._project.keys()) if self._project else []
        if unknown:
            logger.warning(
                "run_config_pins: the run configuration of the project has no {}; correct the name, unless the app reads it",
                ", ".join(map(repr, unknown[:_MOST_SHOWN])),
            )

    def seen_by_app(self, sent: UserConfig) -> UserConfig:
        """Return the configuration for one message, as a new dict."""
        taken = {key: value for key, value in sent.items() if self._takes(key)} if self._takes_sent else {}
        return {**self._project, **taken, **self._pins}

    def _takes(self, key: str) -> bool:
        """Return whether the app may see a sent value: not if the key is another spelling or another level of a pin.

        An app can make nested dicts of the keys, or read ``-`` as ``_``. Then such a key would replace the pin.
        """
        if key in self._project or not self._pins:
            return True
        path = _path(key)
        return path not in self._above_pins and self._pinned.isdisjoint(_beginnings(path))

    def kept_keys(self, sent: UserConfig) -> list[str]:
        """Return the sent keys with a value that the app does not see."""
        seen = self.seen_by_app(sent)
        return [key for key in sent if not equal_values(sent, seen, key)]

    def note_request(self, run: int, aggregator: str, sent: UserConfig, recorded: str = "") -> str:
        """Log once for each run the values that differ from the own project, with both values.

        Return the digest of the configuration. ``recorded`` is that of the run in an earlier process; empty if unknown.

        Raises:
            MalformedError: an earlier request of the run had another configuration, which the log would not show.
        """
        # Not the values, because the aggregator decides how many runs it begins.
        digest = hashlib.sha256(config_to_buffer(sent)).hexdigest()
        if digest != (self._digests.get(run) or recorded or digest):
            raise MalformedError(
                "the run configuration is not the same as in an earlier request of the run", travels=True
            )
        if run not in self._digests:
            self._digests[run] = digest
            self._log_differences(run, aggregator, sent)
        return digest

    def _log_differences(self, run: int, aggregator: str, sent: UserConfig) -> None:
        different = [key for key in sent if not equal_values(sent, self._project, key)]
        if not different:
            return
        kept = set(self.kept_keys(sent))
        # The aggregator chooses the order, and must not hide a changed value of the project behind many new keys.
        own = [key for key in different if key in self._project or key in self._pins]
        new = [key for key in different if key not in own]
        shown = "; ".join(
            f"{_shown_key(key)} = {shown_value(sent, key)} (own: {shown_value(self._project, key)}"
            f"{self._kept(key) if key in kept else ''})"
            for key in [*own, *new[:_MOST_SHOWN]]
        )
        more = len(new) - _MOST_SHOWN
        rest = f"; and {more} more" if more > 0 else ""
        logger.info(
            "run {} of {}: its run configuration differs from the project here: {}{}", run, aggregator, shown, rest
        )

    def _kept(self, key: str) -> str:
        changed = key in self._pins and not equal_values(self._pins, self._project, key)
        return f", pinned: {shown_value(self._pins, key)}" if changed else ", kept"

    def forget(self, run: int) -> None:
        """Log the differences again if this run comes again."""
        self._digests.pop(run, None)


def _shown_key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _path(key: str) -> tuple[str, ...]:
    """Return the parts of a key. Spellings that look alike have the same parts."""
    return tuple(unicodedata.normalize("NFKC", key).casefold().replace("-", "_").split("."))


def _beginnings(path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the path of each level, also the whole one."""
    return (path[:length] for length in range(1, len(path) + 1))
