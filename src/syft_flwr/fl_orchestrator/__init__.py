"""Runs Flower over files: the grid, the server of the aggregator, the client of a data owner and its worker."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syft_flwr.checkpoints import Checkpoint, Checkpoints
    from syft_flwr.fl_orchestrator.flower_client import run_client, run_clients, syftbox_flwr_client
    from syft_flwr.fl_orchestrator.flower_server import run_server, syftbox_flwr_server
    from syft_flwr.fl_orchestrator.participant import Participant, open_participant
    from syft_flwr.fl_orchestrator.ping import NoPong, Pong
    from syft_flwr.fl_orchestrator.syft_grid import SyftGrid

__all__ = [
    "Checkpoint",
    "Checkpoints",
    "NoPong",
    "Participant",
    "Pong",
    "SyftGrid",
    "open_participant",
    "run_client",
    "run_clients",
    "run_server",
    "syftbox_flwr_client",
    "syftbox_flwr_server",
]

_LAZY = {
    "Checkpoint": "syft_flwr.checkpoints",
    "Checkpoints": "syft_flwr.checkpoints",
    "NoPong": "syft_flwr.fl_orchestrator.ping",
    "Participant": "syft_flwr.fl_orchestrator.participant",
    "Pong": "syft_flwr.fl_orchestrator.ping",
    "SyftGrid": "syft_flwr.fl_orchestrator.syft_grid",
    "open_participant": "syft_flwr.fl_orchestrator.participant",
    "run_client": "syft_flwr.fl_orchestrator.flower_client",
    "run_clients": "syft_flwr.fl_orchestrator.flower_client",
    "run_server": "syft_flwr.fl_orchestrator.flower_server",
    "syftbox_flwr_client": "syft_flwr.fl_orchestrator.flower_client",
    "syftbox_flwr_server": "syft_flwr.fl_orchestrator.flower_server",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that Flower is loaded only when it is needed."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
