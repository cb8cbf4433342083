"""The node configuration: the part of a Flower Context that belongs to one data owner.

Flower's apps choose their part of a data set by ``partition-id`` and ``num-partitions``. Both come from the position of
the data owner in ``datasites``, unless the data owner sets its own values.

    >>> defaults("do2@b.org", ("do1@a.org", "do2@b.org"))
    {'partition-id': 1, 'num-partitions': 2}
"""

from collections.abc import Sequence
from typing import Any

from syft_flwr.config.user_config import UserConfig, checked_user_config
from syft_flwr.log import logger

PARTITION_ID, NUM_PARTITIONS = "partition-id", "num-partitions"


def defaults(email: str, datasites: Sequence[str]) -> UserConfig:
    """Return the values for a data owner by its position in the list; empty if it is not listed."""
    if email not in datasites:
        return {}
    return {PARTITION_ID: datasites.index(email), NUM_PARTITIONS: len(datasites)}


def node_config_of(email: str, datasites: Sequence[str], setting: UserConfig, given: Any) -> UserConfig:
    """Return the node configuration of a data owner; warn if an app will not find its partition in it.

    Args:
        email: the email of the data owner.
        datasites: the data owners of the run, by the data owner's own settings.
        setting: the setting ``node_config``, whose values replace the defaults.
        given: ``node_config`` of a Context in Python, whose values replace both.

    Raises:
        ConfigError: ``given`` has a value that is not allowed.
    """
    config = {**defaults(email, datasites), **setting, **checked_user_config(given, "context.node_config")}
    missing = [key for key in (PARTITION_ID, NUM_PARTITIONS) if key not in config]
    if missing:
        why = f"does not list {email}" if datasites else "is not set here"
        logger.warning(
            "the app finds no {} in context.node_config, because the setting datasites {}; add the data owners to "
            "datasites in [tool.syft_flwr] or SYFT_FLWR_DATASITES",
            " and no ".join(missing),
            why,
        )
    return config
