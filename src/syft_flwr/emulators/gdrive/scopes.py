"""Which scopes let a client call a method, after the service's published description."""

from syft_flwr.emulators.gdrive.records import Actor
from syft_flwr.emulators.gdrive.tokens import SCOPE


def _scopes(names: str) -> frozenset[str]:
    return frozenset(SCOPE + name for name in names.split())


_READ = _scopes("drive drive.file drive.readonly drive.metadata drive.metadata.readonly")
_WRITE = _scopes("drive drive.file")
_ACCEPTED = {
    "about.get": _READ,
    "changes.getStartPageToken": _READ,
    "changes.list": _READ,
    "files.create": _WRITE,
    "files.delete": _WRITE,
    "files.download": _scopes("drive drive.file drive.readonly"),
    "files.emptyTrash": _scopes("drive"),
    "files.generateIds": _WRITE,
    "files.get": _READ,
    "files.list": _READ,
    "files.update": _scopes("drive drive.file drive.metadata"),
    "permissions.create": _WRITE,
    "permissions.delete": _WRITE,
    "permissions.get": _READ,
    "permissions.list": _READ,
    "permissions.update": _WRITE,
}


def allow(actor: Actor, method: str) -> bool:
    return bool(actor.scopes & _ACCEPTED[method])
