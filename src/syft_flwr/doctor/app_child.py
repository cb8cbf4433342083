"""The child that loads an app: arguments are ``server`` or ``client``, the reference of the app, and the project folder."""

import os
import sys
from typing import Any

from syft_flwr.doctor.children import report

_MOST = 1_000


def load(kind: str, reference: str, folder: str) -> dict[str, Any]:
    """Import an app, and return why that failed; empty if it did not."""
    from flwr.clientapp import ClientApp
    from flwr.serverapp import ServerApp

    from syft_flwr.errors import AppLoadError
    from syft_flwr.fl_orchestrator.app_exceptions import load_text, type_name
    from syft_flwr.fl_orchestrator.import_path import import_from
    from syft_flwr.flower import load_app

    import_from([folder])
    wanted = {"server": ServerApp, "client": ClientApp}[kind]
    try:
        app = load_app(reference, AppLoadError, folder)
    except BaseException as error:  # noqa: BLE001 - user code may raise anything on import
        return {"problem": load_text(error)[:_MOST]}
    found = isinstance(app, wanted)
    return {"problem": "" if found else f"it is a {type_name(app)}, not a flwr {wanted.__name__}"}


def main() -> None:
    kind, reference, folder = sys.argv[1:4]
    report(lambda: load(kind, reference, folder))
    # A thread of the app must not hold up the end.
    os._exit(0)


if __name__ == "__main__":
    main()
