"""Runs one function over many parts in threads, so that sealing, hashing and file access use all cores."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")

#: Each thread holds two segments in memory, so a machine with many cores gets no more threads than this.
_MOST_THREADS = 8


def on_all_cores(work: Callable[[Part], Result], parts: Sequence[Part], *, threads: int = 0) -> list[Result]:
    """Return the result of ``work`` for each part, in order.

    After an error, running calls finish, no further call starts, and the first error is raised.

    Args:
        work: the function.
        parts: its arguments.
        threads: the number of threads, for work that mostly waits for a service. 0 means the number of
            cores, at most 8, because more threads than cores gain nothing for work that computes.
    """
    threads = min(len(parts), threads or min(os.cpu_count() or 1, _MOST_THREADS))
    if threads <= 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as executor:
        try:
            return list(executor.map(work, parts))
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise
