"""Arguments of syft-flwr 0.5: those with the same meaning are passed on by their new name, others are refused."""

from collections.abc import Callable, Mapping
from functools import wraps
from inspect import Parameter, signature
from typing import Any, ParamSpec, TypeVar

_Parameters = ParamSpec("_Parameters")
_Returned = TypeVar("_Returned")


def takes_old_arguments(
    renamed: Mapping[str, str], gone: Mapping[str, str] | None = None
) -> Callable[[Callable[_Parameters, _Returned]], Callable[_Parameters, _Returned]]:
    """Return a decorator for a function that had other arguments in syft-flwr 0.5.

    Args:
        renamed: the new name of an argument, by its old name.
        gone: for an argument without a new form, the text of the TypeError: the way to reach the same now. In 0.5, these
            arguments came after all positional ones, in this order. None was their default, and is accepted.
    """

    def decorate(function: Callable[_Parameters, _Returned]) -> Callable[_Parameters, _Returned]:
        removed = gone or {}
        name = function.__qualname__.removesuffix(".__init__")
        kinds = [parameter.kind for parameter in signature(function).parameters.values()]
        positional = kinds.count(Parameter.POSITIONAL_OR_KEYWORD)

        @wraps(function)
        def call(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Returned:
            given: dict[str, Any] = kwargs
            places: tuple[Any, ...] = args
            for old, way in removed.items():
                value = given.pop(old, None)
                if value is None and len(places) > positional:
                    value, places = places[positional], (*places[:positional], *places[positional + 1 :])
                if value is not None:
                    raise TypeError(f"{name}() takes no argument {old!r} any more: {way}")
            for old in given.keys() & renamed.keys():
                new = renamed[old]
                if new in given:
                    raise TypeError(f"{name}() got {old!r} and {new!r}, which are the same argument: leave out {old!r}")
                given[new] = given.pop(old)
            return function(*places, **given)

        return call

    return decorate
