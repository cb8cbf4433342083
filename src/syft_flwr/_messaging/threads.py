"""Runs one function over many parts in threads, so that sealing, hashing and file access use all cores.

The number of threads belongs to the process: :func:`limit_threads` sets it, from the setting ``threads``.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from syft_flwr.config.search import default_threads

Part = TypeVar("Part")
Result = TypeVar("Result")


@dataclass(slots=True)
class _ThreadLimit:
    #: None until a person has chosen a number.
    chosen: int | None = None


_limit = _ThreadLimit()


def limit_threads(chosen: int | None) -> None:
    """Let each message of this process use at most so many threads; None for the default."""
    _limit.chosen = chosen


def reader_threads(most: int) -> int:
    """Return how many threads may read large replies: ``most``, or fewer if a person chose a lower number of threads."""
    return min(most, _limit.chosen or most)


def on_all_cores(work: Callable[[Part], Result], parts: Sequence[Part], *, threads: int = 0) -> list[Result]:
    """Return the result of ``work`` for each part, in order.

    After an error, running calls finish, no further call starts, and the first error is raised.

    Args:
        work: the function.
        parts: its arguments.
        threads: the number of threads, for work that mostly waits for a service. 0 means the setting
            ``threads``. Its default is the number of cores, because more threads gain nothing for work that computes.
    """
    threads = min(len(parts), threads or _limit.chosen or default_threads())
    if threads <= 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as executor:
        try:
            return list(executor.map(work, parts))
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
