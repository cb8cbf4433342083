"""A Google Drive for one run: the emulator, in a process of its own that ends with the run, however that ends."""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from syft_flwr.config.search import FIELDS
from syft_flwr.errors import RunError

#: Seconds to wait for its counters.
_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Usage:
    """What one account used of Google Drive's limits. Bytes are those of files' contents."""

    email: str
    calls: int
    requests: int
    units: int
    bytes_up: int
    bytes_down: int


class LocalDrive:
    """A running emulator.

    Args:
        emails: its accounts.
        folder: where its tokens go.
        log: where its errors go.
        latency: how long its calls take, ``none`` or ``real``.

    Raises:
        RunError: it cannot be started.
    """

    def __init__(self, emails: Sequence[str], folder: Path, log: Path, *, latency: str = "none") -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        users = [argument for email in dict.fromkeys(emails) for argument in ("--user", email)]
        command = [
            sys.executable,
            "-P",
            "-m",
            "syft_flwr.testing.gdrive",
            "--port",
            "0",
            "--tokens",
            str(folder),
            *users,
        ]
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                # It ends when its standard input does: with this process, however that ends.
                [*command, "--latency", latency, "--until-stdin-closes"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            self.close()
            raise RunError("the Google Drive emulator cannot be started", hint=f"Its log says why: {log}.")
        ready: dict[str, Any] = json.loads(line)
        self.url, self._tokens = ready["url"], ready["tokens"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def environment(self, email: str) -> dict[str, str]:
        """Return what makes a participant use this drive."""
        return {
            FIELDS["gdrive_api"].environment: self.url,
            FIELDS["gdrive_token_path"].environment: self._tokens[email],
        }

    def usage(self) -> list[Usage]:
        """Return what each account used up to now."""
        address = urlsplit(self.url)
        with closing(HTTPConnection(str(address.hostname), address.port, timeout=_PATIENCE)) as connection:
            connection.request("GET", "/emulator/meters")
            meters: dict[str, dict[str, Any]] = json.load(connection.getresponse())
        return [
            Usage(
                email=email,
                calls=sum(meter["calls"].values()),
                requests=meter["http"],
                units=meter["units"],
                bytes_up=meter["bytes_up"],
                bytes_down=meter["bytes_down"],
            )
            for email, meter in meters.items()
        ]

    def close(self) -> None:
        """End it. A second call does nothing."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
