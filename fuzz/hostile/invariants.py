"""What must hold of every reader, whatever it is given.

* It returns, or it raises an error of ours: for what a peer wrote, a :class:`RemoteProtocolError`.
* The text of the error is one short line, fit for a log and a terminal, and nothing behind it shows a secret.
* The memory that it takes on the way stays within bounds. This is read from the kernel and not from ``tracemalloc``,
  which does not see what pydantic's and protobuf's parsers allocate.
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

#: How much more than its input a reader may take, beside what was announced and is permitted.
MEMORY = 64 << 20
#: Characters of an error's text: what travels of it (500), and the name of a file (512).
MAX_TEXT = 1_100

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_FEW_ERRORS = 100
_SHOWN = 8

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Guarded:
    """Calls readers and holds them to the rules.

    Args:
        secrets: what no error may show, as bytes; their hexadecimal form is looked for too.
        expected: the errors that are allowed.
    """

    def __init__(self, *secrets: bytes, expected: type[SyftFlwrError] = RemoteProtocolError) -> None:
        self._expected = expected
        # The ends of each, because what shows a long value may leave out its middle.
        ends = [end for secret in secrets for end in (secret[:_SHOWN], secret[-_SHOWN:])]
        self._secrets = tuple(text for end in ends for text in (end.hex(), end.decode("latin-1")))
        self.error: SyftFlwrError | None = None

    def __call__(
        self, reader: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result | None:
        """Return what the reader returns, or None if it refused, with the reason in :attr:`error`."""
        self.error = None
        try:
            return reader(*args, **kwargs)
        except self._expected as error:
            require_discreet(error, self._secrets)
            # pydantic's errors are not seen by the garbage collector: held together with the frames below, they stay.
            error.__cause__ = error.__context__ = None
            self.error = error.with_traceback(None)
            return None


def require_discreet(error: BaseException, secrets: Iterable[str] = ()) -> None:
    """Raise AssertionError if the text of ``error`` is not fit to be shown, or that of its causes shows a secret."""
    text = str(error)
    assert len(text) <= MAX_TEXT, f"an error text of {len(text)} characters"
    assert text.isprintable(), f"an error text that can forge a line of a log: {text!r}"
    for shown in (text, *_causes(error)):
        for secret in secrets:
            assert secret not in shown, f"the text of {type(error).__name__} or of its cause shows a secret"


def _causes(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or error.__context__
    while cause is not None:
        # The text of very many errors of validation is itself more than a reader may take.
        if not isinstance(cause, ValidationError) or cause.error_count() <= _FEW_ERRORS:
            yield str(cause)
        cause = cause.__cause__ or cause.__context__


def can_measure() -> bool:
    """Say whether this system tells the peak of a process's memory, and lets it be reset (Linux, since 4.0)."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _memory(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", _STATUS.read_text(), re.M)
    return int(found[1]) << 10 if found else 0


def release() -> None:
    """Give back to the system what is free in this process, so that a peak starts from the ground."""
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def bounded_memory(allowed: int = MEMORY) -> Iterator[None]:
    """Raise AssertionError if the process grows by more than ``allowed`` bytes at any moment within.

    Where the system does not say, nothing is checked. Memory that was free in the process beforehand does not count;
    :func:`release` first where that matters.
    """
    if not can_measure():
        yield
        return
    before = _memory("VmRSS")
    yield
    grown = _memory("VmHWM") - before
    assert grown <= allowed, f"a reader took {grown >> 20} MB; {allowed >> 20} are allowed"
