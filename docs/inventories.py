"""Writes the inventories of Flower and NumPy in ``docs/_inventories``: ``python docs/inventories.py``.

Both have no package with their inventory. These have the names that our signatures and docstrings use, each under its public
name and under the one of its module, with its address in the reference.
"""

import zlib
from importlib import import_module
from pathlib import Path

_FOLDER = Path(__file__).parent / "_inventories"
_FLOWER = (
    "flwr.app.ArrayRecord",
    "flwr.app.Context",
    "flwr.app.Message",
    "flwr.app.RecordDict",
    "flwr.clientapp.ClientApp",
    "flwr.server.strategy.Strategy",
    "flwr.serverapp.Grid",
    "flwr.serverapp.ServerApp",
    "flwr.serverapp.strategy.Strategy",
)
#: Names that a signature has without a module, because only a type checker imports them.
_SHORT = {"ArrayRecord"}
_NUMPY = ("numpy.dtype", "numpy.ndarray")
#: Classes whose module is not the one of their documentation: real name, address below the library reference.
_PYTHON = {"_asyncio.Task": "asyncio-task.html#asyncio.Task"}


def _rows(name: str, address: str) -> list[str]:
    module, _, short = name.rpartition(".")
    value = getattr(import_module(module), short)
    return [
        f"{each} py:class 1 {address} -"
        for each in sorted({name, *_SHORT & {short}, f"{value.__module__}.{value.__qualname__}"})
    ]


def _write(name: str, version: str, rows: list[str]) -> None:
    head = f"# Sphinx inventory version 2\n# Project: {name}\n# Version: {version}\n"
    head += "# The remainder of this file is compressed using zlib.\n"
    data = zlib.compress("".join(f"{row}\n" for row in rows).encode(), 9)
    (_FOLDER / f"{name.lower()}.inv").write_bytes(head.encode() + data)


def main() -> None:
    flower = [row for name in _FLOWER for row in _rows(name, f"ref-api/{name}.html#{name}")]
    _write("Flower", import_module("flwr").__version__, flower)
    numpy = [row for name in _NUMPY for row in _rows(name, f"reference/generated/{name}.html#{name}")]
    _write("NumPy", import_module("numpy").__version__, numpy)
    _write("Asyncio", "", [f"{name} py:class 1 {address} -" for name, address in _PYTHON.items()])


if __name__ == "__main__":
    main()
