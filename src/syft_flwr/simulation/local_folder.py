"""Replaces SyftBox for one run: one folder that all participants share, without a sync service."""

import json
from collections.abc import Sequence
from pathlib import Path

from syft_flwr.config.search import SYFTBOX_CONFIG
from syft_flwr.simulation.stand_in import Usage


class LocalFolder:
    """A SyftBox data folder in ``folder``, and a config file of the SyftBox client for each participant.

    Args:
        emails: the emails of the participants.
        folder: a private folder of the run.
        logs: not used.
    """

    delay = 0.0

    def __init__(self, emails: Sequence[str], folder: Path, logs: Path) -> None:  # noqa: ARG002 - as of every stand-in
        self._folder = folder
        (folder / "SyftBox").mkdir(exist_ok=True)
        for email in dict.fromkeys(emails):
            config = self._config(email)
            config.parent.mkdir(exist_ok=True)
            # Without a server_url, no SyftBox client is expected to run.
            content = {"email": email, "data_dir": str(folder / "SyftBox")}
            config.write_text(json.dumps(content), encoding="utf-8")

    def _config(self, email: str) -> Path:
        return self._folder / email / "config.json"

    def environment(self, email: str) -> dict[str, str]:
        return {SYFTBOX_CONFIG: str(self._config(email))}

    def usage(self) -> list[Usage]:
        return []

    def close(self) -> None:
        pass
