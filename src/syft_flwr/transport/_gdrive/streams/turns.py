"""Gives each owner its turn, so that one with very many files takes no place of another."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, zip_longest
from typing import TypeVar

T = TypeVar("T")


def in_turn(items: Iterable[T], owner_of: Callable[[T], str]) -> Iterator[T]:
    """Iterate over the items: first one of each owner, then the second one of each, and so on."""
    by_owner: dict[str, list[tuple[T]]] = {}
    for item in items:
        by_owner.setdefault(owner_of(item), []).append((item,))
    for (item,) in filter(None, chain.from_iterable(zip_longest(*by_owner.values()))):
        yield item
