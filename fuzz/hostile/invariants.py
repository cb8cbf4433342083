"""Rules that every reader of foreign bytes must keep, for any input.

* It returns, or it raises an error of this package; for bytes from a peer, a :class:`RemoteProtocolError`.
* The text of the error is one short line of printable characters. The texts of the error and its causes show no secret.
* The memory that it takes stays below a limit. The kernel measures it, because ``tracemalloc`` does not see the
  allocations of the native parsers of pydantic and protobuf.
"""

import contextlib
import ctypes
import gc
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar

from pydantic import ValidationError

from syft_flwr.errors import RemoteProtocolError, SyftFlwrError
from syft_flwr.text import is_visible

#: Bytes of memory that a reader may take beyond its input, and beyond the allowed sizes that the input announces.
MEMORY = 64 << 20
#: Largest number of characters of an error text: 500 of the text that is sent, and 512 of a file name.
MAX_TEXT = 1_100

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_FEW_ERRORS = 100
_SHOWN = 8

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Guarded:
    """Calls readers and checks the rules for their errors.

    Args:
        secrets: bytes that an error must not show, also not in hexadecimal form.
        expected: the class of the allowed errors.
    """

    def __init__(self, *secrets: bytes, expected: type[SyftFlwrError] = RemoteProtocolError) -> None:
        self._expected = expected
        # Only both ends of each secret, because an error may show a long value without its middle.
        ends = [end for secret in secrets for end in (secret[:_SHOWN], secret[-_SHOWN:])]
        self._secrets = tuple(text for end in ends for text in (end.hex(), end.decode("latin-1")))
        self.error: SyftFlwrError | None = None

    def __call__(
        self, reader: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result | None:
        """Return the value of the reader, or None if it raised an expected error, which is then in :attr:`error`."""
        self.error = None
        try:
            return reader(*args, **kwargs)
        except self._expected as error:
            require_discreet(error, self._secrets)
            # The garbage collector does not see pydantic's errors. With references to frames they would never be freed.
            error.__cause__ = error.__context__ = None
            self.error = error.with_traceback(None)
            return None


def require_discreet(error: BaseException, secrets: Iterable[str] = ()) -> None:
    """Raise AssertionError if the text of ``error`` is too long or not printable, or shows a secret.

    The texts of its causes must not show a secret either.
    """
    text = str(error)
    assert len(text) <= MAX_TEXT, f"an error text of {len(text)} characters"
    assert is_visible(text), f"an error text that can forge a line of a log: {text!r}"
    for shown in (text, *_causes(error)):
        for secret in secrets:
            assert secret not in shown, f"the text of {type(error).__name__} or of its cause shows a secret"


def _causes(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or error.__context__
    while cause is not None:
        # Writing the text of very many validation errors would itself exceed the memory limit.
        if not isinstance(cause, ValidationError) or cause.error_count() <= _FEW_ERRORS:
            yield str(cause)
        cause = cause.__cause__ or cause.__context__


def can_measure() -> bool:
    """Return whether this system reports the peak memory of a process and can reset it (Linux since 4.0)."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _memory(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.M)
    return int(found[1]) << 10 if found else 0


def release() -> None:
    """Return the free memory of this process to the system, so that the next peak starts low."""
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def bounded_memory(allowed: int = MEMORY) -> Iterator[None]:
    """Raise AssertionError if the process grows by more than ``allowed`` bytes at any moment within the block.

    On a system that does not report the peak, nothing is checked. Memory that was free in the process before does not
    count; call :func:`release` first to include it.
    """
    if not can_measure():
        yield
        return
    before = _memory("VmRSS")
    yield
    grown = _memory("VmHWM") - before
    assert grown <= allowed, f"a reader took {grown >> 20} MB; {allowed >> 20} are allowed"
