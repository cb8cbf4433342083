"""The script of axe-core, which finds faults of a page for readers with other eyes or without a mouse.

It comes from the package's archive on the npm registry, which is kept in the Python environment. So a later run needs no
network, and the project has no copy of the script. The archive is used only if it has the pinned digest.
"""

import hashlib
import io
import os
import sys
import tarfile
import urllib.request
from pathlib import Path

VERSION = "4.14.1"
_SHA512 = (
    "1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b73"
    "4f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5"
)
_URL = f"https://registry.npmjs.org/axe-core/-/axe-core-{VERSION}.tgz"
_PATIENCE = 60.0
#: The archive has 0.7 MB.
_LARGEST = 5_000_000


def axe_source(folder: Path = Path(sys.prefix) / "share" / "syft-flwr-tests", url: str = _URL) -> str:
    """Return the script. The archive is downloaded if ``folder`` does not have it.

    Raises:
        RuntimeError: the archive cannot be downloaded, or is another one.
    """
    path = folder / f"axe-core-{VERSION}.tgz"
    archive = path.read_bytes() if path.exists() else b""
    if not _is_genuine(archive):
        archive = _download(url)
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_bytes(archive)
        part.replace(path)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        script = files.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE) as reply:
            archive = bytes(reply.read(_LARGEST))
    except OSError as error:
        raise RuntimeError(f"{url}: {error}. Run `make browser-test` once with a network.") from error
    if not _is_genuine(archive):
        raise RuntimeError(f"{url} has another SHA-512 than the one in {Path(__file__).name}. Do not use it.")
    return archive


def _is_genuine(archive: bytes) -> bool:
    return hashlib.sha512(archive).hexdigest() == _SHA512
