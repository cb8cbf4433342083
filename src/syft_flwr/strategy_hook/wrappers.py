"""The wrappers that Flower's classes have while any hook is open, and the only place that adds and removes them.

The wrappers are the same for all hooks: each call looks up the hook of its own thread, and without one it only calls
Flower. ``start`` and ``fit`` of the app's classes are found when they are called on an object. So nothing is written into
a class of the app, and a class that the app defines later is followed as well.
"""

import inspect
import operator
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial, wraps
from types import MethodType
from typing import Any

from flwr.server import History, Server, SimpleClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import Strategy as LegacyStrategy
from flwr.serverapp.strategy import Result, Strategy

from syft_flwr.strategy_hook.open_hook import LOSSES, METRICS, OpenHook, Settle, StrategyReports, Waiting

_Function = Callable[..., Any]
#: The arguments of the legacy methods that aggregate.
_OF_AGGREGATION = ("server_round", "results", "failures")
#: The method that is a training, by class.
_TRAININGS: dict[type, str] = {Strategy: "start", Server: "fit"}


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.hooks: list[OpenHook] = []

    def last(self) -> OpenHook | None:
        return self.hooks[-1] if self.hooks and self.hooks[-1].is_here() else None


class _Wrappers:
    """The wrapped methods; the first hook of the process adds them, and the last one removes them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hooks = 0
        self._added: list[tuple[type, str, _Function, _Function | None]] = []

    @contextmanager
    def in_place(self) -> Iterator[None]:
        try:
            with self._lock:
                self._hooks += 1
                if self._hooks == 1:
                    self._add()
            yield
        finally:
            with self._lock:
                self._hooks -= 1
                if self._hooks == 0:
                    self._remove()

    def _add(self) -> None:
        for place, name, wrap in _list_wrappers():
            wrapper = wrap(getattr(place, name))
            self._added.append((place, name, wrapper, vars(place).get(name)))
            setattr(place, name, wrapper)

    def _remove(self) -> None:
        for place, name, wrapper, original in reversed(self._added):
            # The app may have replaced the method in the meantime; its replacement stays.
            if vars(place).get(name) is not wrapper:
                continue
            if original is None:
                delattr(place, name)
            else:
                setattr(place, name, original)
        self._added.clear()


_OF_THREAD = _OfThread()
_WRAPPERS = _Wrappers()


@contextmanager
def following_strategies(
    reports: StrategyReports, waiting: Waiting = nullcontext, settle: Settle = lambda _: {}
) -> Iterator[None]:
    """Report to ``reports`` what strategies do in this thread, until the end of the ``with`` block.

    Hooks may be open in several threads. In one thread, only the hook that was opened last reports. ``waiting`` is called
    before a client manager of the legacy API waits for clients. ``settle`` is called with the round before a legacy strategy
    aggregates the results of a training. The results that it names become failures. The other ones, and those of an
    evaluation, get the order of their nodes: Flower's own order changes from call to call.
    """
    hook, hooks = OpenHook(reports, waiting, settle), _OF_THREAD.hooks
    with _WRAPPERS.in_place():
        hooks.append(hook)
        try:
            yield
        finally:
            hooks.remove(hook)
            hook.close()


def _list_wrappers() -> Iterator[tuple[type, str, Callable[[_Function], _Function]]]:
    for place, name in _TRAININGS.items():
        yield place, name, _follow
        yield place, "__getattribute__", partial(_follow_lookups, place, name)
    yield LegacyStrategy, "__getattribute__", _follow_aggregations
    yield Result, "__init__", _follow_creation
    yield SimpleClientManager, "wait_for", _follow_wait
    for name, source in METRICS.items():
        yield History, f"add_{name}", partial(_follow_history, source, None)
    for name, source in LOSSES.items():
        yield History, f"add_{name.replace('losses', 'loss')}", partial(_follow_history, source, "loss")


def _follow(function: _Function) -> _Function:
    @wraps(function)
    def training(*args: Any, **kwargs: Any) -> Any:
        hook = _OF_THREAD.last()
        if hook is None:
            return function(*args, **kwargs)
        return hook.follow(partial(function, *args, **kwargs), partial(_count_rounds, function, args, kwargs))

    return training


def _count_rounds(function: _Function, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int | None:
    """Return the argument ``num_rounds``, or None if the app's own method has no such argument."""
    try:
        bound = inspect.signature(function).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return None
    bound.apply_defaults()
    found: Any = {**bound.arguments, **kwargs}.get("num_rounds")
    return operator.index(found) if hasattr(found, "__index__") else None


def _follow_lookups(place: type, name: str, lookup: _Function) -> _Function:
    @wraps(lookup)
    def find(self: Any, attribute: str) -> Any:
        found = lookup(self, attribute)
        if attribute != name or _OF_THREAD.last() is None or not callable(found):
            return found
        if not isinstance(found, MethodType):
            return _follow(found)
        return found if found.__func__ is vars(place)[name] else MethodType(_follow(found.__func__), found.__self__)

    return find


def _follow_aggregations(lookup: _Function) -> _Function:
    @wraps(lookup)
    def find(self: Any, attribute: str) -> Any:
        found = lookup(self, attribute)
        hook = _OF_THREAD.last() if attribute in ("aggregate_fit", "aggregate_evaluate") else None
        if hook is None or not callable(found):
            return found
        return partial(_aggregate, hook.settle if attribute == "aggregate_fit" else _settle_nothing, found)

    return find


def _settle_nothing(_: int) -> Mapping[str, Exception]:
    return {}


def _aggregate(settle: Settle, aggregate: _Function, *args: Any, **kwargs: Any) -> Any:
    given = dict(zip(_OF_AGGREGATION, args, strict=False)) | kwargs
    if given.keys() != set(_OF_AGGREGATION):
        return aggregate(*args, **kwargs)
    server_round, results, failures = (given[name] for name in _OF_AGGREGATION)
    refused = settle(server_round)
    if refused:
        failures = [*failures, *(refused[client.cid] for client, _ in results if client.cid in refused)]
        results = [each for each in results if each[0].cid not in refused]
    return aggregate(server_round, _in_order(results), failures)


def _in_order(results: Any) -> Any:
    """Return results in the order of their nodes; those of a server with another form as they are."""
    if not isinstance(results, list):
        return results
    if not all(isinstance(each, tuple) and each and isinstance(each[0], ClientProxy) for each in results):
        return results
    return sorted(results, key=lambda each: each[0].cid)


def _follow_creation(create: _Function) -> _Function:
    signature = inspect.signature(create)

    @wraps(create)
    def create_followed(self: Result, *args: Any, **kwargs: Any) -> None:
        create(self, *args, **kwargs)
        hook = _OF_THREAD.last()
        if hook is not None:
            hook.add_result(self, set(signature.bind(self, *args, **kwargs).arguments))

    return create_followed


def _follow_wait(wait: _Function) -> _Function:
    signature = inspect.signature(wait)

    @wraps(wait)
    def wait_followed(*args: Any, **kwargs: Any) -> Any:
        hook = _OF_THREAD.last()
        if hook is None:
            return wait(*args, **kwargs)
        _, minimum, *_ = signature.bind(*args, **kwargs).args
        with hook.waiting(minimum):
            return wait(*args, **kwargs)

    return wait_followed


def _follow_history(source: str, name: str | None, add: _Function) -> _Function:
    """Report after ``add``, whose second argument is a loss if ``name`` is given, and else a dict of metrics."""
    signature = inspect.signature(add)

    @wraps(add)
    def add_followed(*args: Any, **kwargs: Any) -> Any:
        returned = add(*args, **kwargs)
        hook = _OF_THREAD.last()
        if hook is not None:
            _, server_round, value = signature.bind(*args, **kwargs).args
            hook.add(source, server_round, value if name is None else {name: value})
        return returned

    return add_followed
