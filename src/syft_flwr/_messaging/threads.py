"""Runs one function over many parts in threads: sealing, hashing and file calls then use all cores."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")

#: More threads than cores gain nothing here, and each holds two segments of memory.
_MOST_THREADS = 8


def on_all_cores(work: Callable[[Part], Result], parts: Sequence[Part], *, threads: int = 0) -> list[Result]:
    """Return ``work`` of each part, in order. The first error ends it, after what runs is done.

    ``threads``: how many to have, where the work waits for a service more than it computes.
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
