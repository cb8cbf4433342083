"""Lets the functions and classes of a notebook be found in a worker, under the module ``__main__``, where they were written.

``pickle`` names a function by its module. In a notebook that is ``__main__``, which is another program in a worker. So without this
module, ``multiprocessing`` could not send a function of a cell to its processes, and ``torch.save`` no class of a cell.

Processes that start by ``spawn`` or ``forkserver`` have no notebook. They import this module as their main module, and each
name that they miss is an error that says so.
"""

import gc
import sys
import types
from importlib.machinery import ModuleSpec
from pickle import UnpicklingError
from typing import Any

_MAIN = "__main__"
#: Keeps the module of the worker's own program.
_replaced: list[types.ModuleType] = []

if __name__ == "__mp_main__":

    def __getattr__(name: str) -> Any:
        text = f"module {_MAIN!r} has no attribute {name!r}"
        if name.startswith("__"):
            raise AttributeError(text)
        # pickle replaces the text of an AttributeError.
        raise UnpicklingError(
            f"{text}: a process that multiprocessing starts by spawn or forkserver has no notebook; put it into a module of "
            "its own, or take the start method fork"
        )


def show_notebook() -> None:
    """Replace the module ``__main__`` by one with the names of the notebook. Call it after the app was unpickled."""
    own = sys.modules[_MAIN]
    namespaces = _namespaces(own)
    if not namespaces:
        return

    def find(name: str) -> Any:
        for namespace in namespaces:
            if name in namespace and not name.startswith("__"):
                return namespace[name]
        raise AttributeError(f"module {_MAIN!r} has no attribute {name!r}: put it into a module of its own")

    notebook = types.ModuleType(_MAIN)
    # multiprocessing gives this name to the processes that it starts.
    notebook.__spec__ = ModuleSpec(__name__, None)
    vars(notebook)["__getattr__"] = find
    _replaced.append(own)
    sys.modules[_MAIN] = notebook


def _namespaces(own: types.ModuleType) -> list[dict[str, Any]]:
    """Return the namespaces of all functions that say that they are of ``__main__``, without the worker's own program."""
    found: dict[int, dict[str, Any]] = {}
    for function in gc.get_objects():
        if isinstance(function, types.FunctionType) and function.__module__ == _MAIN:
            found.setdefault(id(function.__globals__), function.__globals__)
    found.pop(id(vars(own)), None)
    return list(found.values())
