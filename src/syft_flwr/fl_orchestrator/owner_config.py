"""Decides the run configuration that the ClientApp of a data owner sees, and logs its differences to the own project.

The aggregator sends its values with each request. They replace those of the project, unless the data owner keeps its own
(the settings ``run_config`` and ``run_config_pins``).
"""

from collections.abc import Mapping

from syft_flwr.config.run_config import equal_values, shown_value
from syft_flwr.config.user_config import UserConfig, UserConfigValue
from syft_flwr.log import logger

#: Keys in one line of the log.
_MOST_SHOWN = 20


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
        self._logged: set[int] = set()

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
        return {**self._project, **(sent if self._takes_sent else {}), **self._pins}

    def kept_keys(self, sent: UserConfig) -> list[str]:
        """Return the sent keys with a value that the app does not see."""
        seen = self.seen_by_app(sent)
        return [key for key in sent if not equal_values(sent, seen, key)]

    def log_differences(self, run: int, aggregator: str, sent: UserConfig) -> None:
        """Log once for each run the values that differ from the own project, with both values."""
        if run in self._logged:
            return
        self._logged.add(run)
        different = [key for key in sent if not equal_values(sent, self._project, key)]
        if not different:
            return
        kept = set(self.kept_keys(sent))
        shown = "; ".join(
            f"{key} = {shown_value(sent, key)} (own: {shown_value(self._project, key)}{self._kept(key) if key in kept else ''})"
            for key in different[:_MOST_SHOWN]
        )
        more = len(different) - _MOST_SHOWN
        rest = f"; and {more} more" if more > 0 else ""
        logger.info(
            "run {} of {}: its run configuration differs from the project here: {}{}", run, aggregator, shown, rest
        )

    def _kept(self, key: str) -> str:
        changed = key in self._pins and not equal_values(self._pins, self._project, key)
        return f", pinned: {shown_value(self._pins, key)}" if changed else ", kept"

    def forget(self, run: int) -> None:
        """Log the differences again if this run comes again."""
        self._logged.discard(run)
