"""Names the software of this participant: its releases of syft-flwr and of Flower."""

from functools import cache

# Above 0.5, the last release of an older implementation with the same name.
__version__ = "1.0.0.dev0"

#: The most characters of the name of a software with its release. A peer states it, so a reader checks it.
MAX_SOFTWARE = 64
#: The form of such a name: printable ASCII.
SOFTWARE_FORM = rf"[ -~]{{1,{MAX_SOFTWARE}}}"

SYFT_FLWR = f"syft-flwr {__version__}"


@cache
def flower() -> str:
    """Return the name and the release of the installed Flower; only the name if its release is not known."""
    # Here, because an import of the package must load nothing that it may not need.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"flwr {version('flwr')}"[:MAX_SOFTWARE]
    except PackageNotFoundError:
        return "flwr"
