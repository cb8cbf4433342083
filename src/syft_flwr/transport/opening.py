"""A transport from plain values, so that another process can open the same one."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from syft_flwr.transport.base import Transport


class TransportConfig(BaseModel):
    """What it takes to open one participant's end of a transport."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["syftbox"]
    email: str
    data_dir: Path
    poll_interval: float

    def open(self) -> Transport:
        from syft_flwr.transport.syftbox import SyftBoxTransport

        return SyftBoxTransport(self.data_dir, self.email, poll_interval=self.poll_interval)
