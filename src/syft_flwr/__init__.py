"""Federated learning with Flower over files in synced folders or Google Drive.

Importing this package loads only its release. Each function loads Flower, the Google libraries or a transport when it needs
them. Most users call ``syft_flwr.bootstrap``, ``syft_flwr.run``, ``syft_flwr.open_run`` and
``syft_flwr.fl_orchestrator.{syftbox_flwr_server, syftbox_flwr_client, SyftGrid}``. Their exceptions are in
``syft_flwr.errors``. ``syft_flwr.load_settings`` returns the settings for a ``Participant`` of ``fl_orchestrator``.

Public names are listed in ``__all__`` of this package, of ``syft_flwr.fl_orchestrator`` and of the modules of
``syft_flwr.testing``. All other names may change without notice.
"""

from typing import TYPE_CHECKING, Any

from syft_flwr.software import __version__

if TYPE_CHECKING:
    from syft_flwr import errors
    from syft_flwr._bootstrap import bootstrap
    from syft_flwr.config import load_settings
    from syft_flwr.report.report_file import write_report
    from syft_flwr.runs.finding import open_run
    from syft_flwr.runs.recorded_run import RecordedRun
    from syft_flwr.simulation import run

__all__ = ["RecordedRun", "__version__", "bootstrap", "errors", "load_settings", "open_run", "run", "write_report"]

_LAZY = {
    "RecordedRun": "syft_flwr.runs.recorded_run",
    "bootstrap": "syft_flwr._bootstrap",
    "load_settings": "syft_flwr.config",
    "open_run": "syft_flwr.runs.finding",
    "run": "syft_flwr.simulation",
    "write_report": "syft_flwr.report.report_file",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "errors":
        return import_module("syft_flwr.errors")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Set on the package: otherwise an import of the submodule with the same name would hide the function.
    globals()[name] = getattr(import_module(_LAZY[name]), name)
    return globals()[name]


def __dir__() -> list[str]:
    return __all__
