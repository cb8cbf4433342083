"""What a stopped network has to know when it is started again: the server's versions and everybody's journal."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from syft_flwr.emulators.syftbox.replica import Replica
from syft_flwr.emulators.syftbox.server import Server
from syft_flwr.errors import StoreError
from syft_flwr.files import write_private

_FILE = "state.json"


def save(folder: Path, server: Server, replicas: Mapping[str, Replica]) -> None:
    document = {
        "versions": server.dump(),
        "journals": {email: replica.dump() for email, replica in replicas.items()},
    }
    write_private(folder / _FILE, json.dumps(document).encode())


def load(folder: Path, server: Server, replicas: Mapping[str, Replica]) -> None:
    """Take over what :func:`save` wrote, once: a network that was killed leaves nothing to believe.

    Raises:
        StoreError: the file is not of this form.
    """
    path = folder / _FILE
    empty: dict[str, Any] = {"versions": [], "journals": {}}
    try:
        document = json.loads(path.read_bytes()) if path.exists() else empty
        server.load(document["versions"])
        for email, replica in replicas.items():
            replica.load(document["journals"].get(email, {}))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} cannot be read", hint="Remove it; what lies in the folders is kept.") from error
    path.unlink(missing_ok=True)
