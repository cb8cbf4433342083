"""Federated learning with Flower where the only thing between the participants is a folder that both can see.

Importing this package does nothing: Flower, Google libraries and the transports are loaded by the function that needs
them. The calls most people need are ``syft_flwr.bootstrap``, ``syft_flwr.run`` and
``syft_flwr.fl_orchestrator.{syftbox_flwr_server, syftbox_flwr_client, SyftGrid}``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from syft_flwr._bootstrap import bootstrap
    from syft_flwr.simulation import run

__all__ = ["__version__", "bootstrap", "run"]

# Above 0.5, the last release of the implementation that had this name before.
__version__ = "1.0.0.dev0"

_LAZY = {"bootstrap": "syft_flwr._bootstrap", "run": "syft_flwr.simulation"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    # Set on the package, so that importing the submodule of the same name cannot shadow the function.
    globals()[name] = getattr(import_module(_LAZY[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
