"""Federated learning with Flower where the only thing between the participants is a folder that both can see.

Importing this package does nothing: Flower, Google libraries and the transports are loaded by the function that needs
them. The calls most people need are ``syft_flwr.bootstrap``, ``syft_flwr.run`` and
``syft_flwr.fl_orchestrator.{syftbox_flwr_server, syftbox_flwr_client, SyftGrid}``; what they raise is in
``syft_flwr.errors``. ``syft_flwr.load_settings`` gives the settings that a ``Participant`` of ``fl_orchestrator`` takes.

Public names are those in ``__all__`` of this package, of ``syft_flwr.fl_orchestrator`` and of the modules of
``syft_flwr.testing``. Everything else may change without notice.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syft_flwr import errors
    from syft_flwr._bootstrap import bootstrap
    from syft_flwr.config import load_settings
    from syft_flwr.simulation import run

__all__ = ["__version__", "bootstrap", "errors", "load_settings", "run"]

# Above 0.5, the last release of the implementation that had this name before.
__version__ = "1.0.0.dev0"

_LAZY = {
    "bootstrap": "syft_flwr._bootstrap",
    "load_settings": "syft_flwr.config",
    "run": "syft_flwr.simulation",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "errors":
        return import_module("syft_flwr.errors")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Set on the package, so that importing the submodule of the same name cannot shadow the function.
    globals()[name] = getattr(import_module(_LAZY[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
