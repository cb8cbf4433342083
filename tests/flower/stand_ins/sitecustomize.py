"""Runs first in each Python process of an example, under Flower and under this package.

It seeds the random numbers of each app, writes a trace of all messages, and gives Flower's moved names back. Flower's
own examples stay as they are.
"""

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import random
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

#: Names that Flower has moved: the old module, the name, and the new module.
_MOVED = (
    ("flwr.common.typing", "UserConfig", "flwr.app"),
    ("flwr.client.typing", "ClientAppCallable", "flwr.clientapp.typing"),
    ("flwr.client.typing", "Mod", "flwr.clientapp.typing"),
)


def seed(*values: object) -> None:
    """Seed each generator that is loaded, from ``values``."""
    number = int.from_bytes(hashlib.sha256(repr(values).encode()).digest()[:4], "big")
    random.seed(number)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(number)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(number)


def describe(message: Any) -> dict[str, Any]:
    """Return a message without ids of its run, and with a digest in place of each array."""
    found: dict[str, Any] = {"node": message.metadata.dst_node_id, "type": message.metadata.message_type}
    if message.has_error():
        return found | {"error": message.error.code}
    for name, record in message.content.items():
        found[name] = {key: _value(value) for key, value in sorted(record.items())}
    return found


def _value(value: Any) -> Any:
    if hasattr(value, "stype"):
        return [value.dtype, list(value.shape), value.stype, hashlib.sha256(value.data).hexdigest()]
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else repr(value)


def traced(grid: Any) -> Any:
    """Return ``grid`` with a fixed order of nodes and replies, and a trace of its messages."""
    from flwr.serverapp import Grid

    class Traced(Grid):  # type: ignore[misc]
        """A grid that writes each message to the trace, and seeds the server after each exchange."""

        def __init__(self) -> None:
            self._exchanges = 0
            seed("server", 0)

        def _note(self, way: str, messages: Iterable[Any]) -> None:
            with open(os.environ["FLOWER_TRACE"], "a", encoding="utf-8") as file:
                for message in messages:
                    file.write(json.dumps({"way": way, **describe(message)}) + "\n")

        def set_run(self, run: Any) -> None:
            grid.set_run(run)

        @property
        def run(self) -> Any:
            return grid.run

        def create_message(self, *arguments: Any, **named: Any) -> Any:
            return grid.create_message(*arguments, **named)

        def get_node_ids(self) -> list[int]:
            return sorted(grid.get_node_ids())

        def push_messages(self, messages: Iterable[Any]) -> Iterable[str]:
            batch = list(messages)
            self._note("push", batch)
            return list(grid.push_messages(batch))

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Any]:
            return list(grid.pull_messages(message_ids))

        def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> list[Any]:
            batch = list(messages)
            self._note("send", batch)
            replies = sorted(
                grid.send_and_receive(batch, timeout=timeout), key=lambda reply: int(reply.metadata.src_node_id)
            )
            self._note("reply", replies)
            self._exchanges += 1
            seed("server", self._exchanges)
            return replies

    return Traced()


def _seed_messages(module: types.ModuleType) -> None:
    call: Callable[..., Any] = module.ClientApp.__call__

    def seeded(self: Any, message: Any, context: Any) -> Any:
        content = message.content.config_records.get("config", {}) if message.has_content() else {}
        seed(context.node_config["partition-id"], message.metadata.message_type, content.get("server-round"))
        return call(self, message, context)

    module.ClientApp.__call__ = seeded


def _trace_server(module: types.ModuleType) -> None:
    call: Callable[..., Any] = module.ServerApp.__call__

    def seeded(self: Any, grid: Any, context: Any) -> Any:
        return call(self, traced(grid), context)

    module.ServerApp.__call__ = seeded


def _give_back(module: types.ModuleType) -> None:
    for old, name, new in _MOVED:
        if old == module.__name__ and not hasattr(module, name):
            setattr(module, name, getattr(importlib.import_module(new), name))


_AFTER: dict[str, Callable[[types.ModuleType], None]] = {
    "flwr.clientapp.client_app": _seed_messages,
    "flwr.serverapp.server_app": _trace_server,
    "flwr.common.typing": _give_back,
    "flwr.client.typing": _give_back,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of the table, and changes each after its import."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name not in _AFTER:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            spec = importlib.machinery.ModuleSpec(name, _Empty())
        loader: Any = spec.loader
        run = loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            run(module)
            _AFTER[name](module)

        loader.exec_module = exec_module
        return spec


class _Empty(importlib.abc.Loader):
    """Makes an empty module in the place of one that Flower has deleted."""

    def exec_module(self, module: types.ModuleType) -> None:
        pass


if "FLOWER_TRACE" in os.environ:
    sys.meta_path.insert(0, _Finder())
