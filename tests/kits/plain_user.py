"""Calls a function as a user to whom the permissions of files apply, also if the tests run as root.

On Linux, each thread has capabilities of its own, and a new thread gets those of its creator. So the function runs in a
thread that has given up those which ignore permissions. A thread of it that began earlier has kept them.
"""

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

#: Version 3 of the form of capset, and the bits that ignore permissions: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
_VERSION, _IGNORE_MODES = 0x20080522, 1 << 1 | 1 << 2


def as_plain_user(call: Callable[[], Result]) -> Result:
    """Return the result of ``call``, which may read only the files that their permissions let this user read."""
    if sys.platform != "linux":
        return call()
    with ThreadPoolExecutor(1, initializer=_give_up) as pool:
        return pool.submit(call).result()


def _give_up() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # The number of the thread, then effective, permitted and inheritable bits: first the lower half of each.
    header, bits = (ctypes.c_uint32 * 2)(_VERSION, 0), (ctypes.c_uint32 * 6)()
    for call in (libc.capget, libc.capset):
        if call(header, bits):
            raise OSError(ctypes.get_errno(), call.__name__)
        for half in range(2):
            bits[half] &= ~_IGNORE_MODES
