"""Describes an exception of the user's app, in bounded text, even if the exception itself is broken.

An exception class is code of the app: its ``__str__`` may raise, return megabytes, or end the process.
"""

import re
import traceback

from syft_flwr._messaging.wire.failures import told_by
from syft_flwr.errors import SyftFlwrError
from syft_flwr.text import printable

#: The name of a module that may travel.
_MODULE = re.compile(r"(?=.{1,100}\Z)[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
#: Characters of a type name, and of the text of an exception.
_MAX_NAME, _MAX_TEXT = 100, 400
#: Characters at the beginning and at the end of a long traceback. The end names the exception.
_HEAD, _TAIL = 4_000, 28_000


def type_name(value: object) -> str:
    """Return the name of the type of an object, printable and short. It contains no data, so it may travel.

    A name with any other text does not travel.
    """
    # Past the metaclass, which is code of the app too.
    name = str(vars(type)["__name__"].__get__(type(value)))
    return printable(name, _MAX_NAME) if name.isidentifier() else "a class without a valid name"


def load_text(error: BaseException) -> str:
    """Return why an app cannot be loaded, for its owner."""
    return text_of(error) if isinstance(error, ImportError | SyftFlwrError) else load_cause(error)


def load_cause(error: BaseException) -> str:
    """Return why an app cannot be loaded: the class of the exception and the missing module, or the exit. It may travel."""
    if isinstance(error, SystemExit):
        return f"it ended the process while it was loaded ({how_it_ends(error)})"
    if isinstance(error, SyftFlwrError):
        return told_by(error)
    # Past the class, which may be code of the app. Any text can be in the place of a name.
    module = vars(ImportError)["name"].__get__(error) if isinstance(error, ImportError) else None
    found = _MODULE.fullmatch(module) if isinstance(module, str) else None
    if found is None:
        return type_name(error)
    verb = "No module named" if isinstance(error, ModuleNotFoundError) else "in an import from"
    # Not the name itself: its class may be code of the app, and write another text.
    return f"{type_name(error)}: {verb} '{found[0]}'"


def text_of(error: BaseException) -> str:
    """Return type and text in one line. It may contain private data."""
    try:
        text = str(error)[:_MAX_TEXT]
    except BaseException:  # noqa: BLE001 - code of the app, which may raise anything
        text = "its text cannot be read"
    return f"{type_name(error)}: {printable(text)}"


def traceback_of(error: BaseException) -> str:
    """Return the traceback. A long one loses its middle."""
    try:
        text = "".join(traceback.format_exception(error))
    except BaseException as second:  # noqa: BLE001 - code of the app, which may raise anything
        return f"{type_name(error)}, whose traceback cannot be read: {type_name(second)}\n"
    if len(text) <= _HEAD + _TAIL:
        return text
    return f"{text[:_HEAD]}\n[… {len(text) - _HEAD - _TAIL} characters …]\n{text[-_TAIL:]}"


def exit_status(error: BaseException) -> int:
    """Return the status with which Python ends a process for this exception."""
    if not isinstance(error, SystemExit):
        return 1
    code = error.code
    return 0 if code is None else code & 0xFF if isinstance(code, int) else 1


def how_it_ends(error: BaseException) -> str:
    """Return how the exception ends a process: the exit status of a SystemExit, or the type. It may travel."""
    return f"exit status {exit_status(error)}" if isinstance(error, SystemExit) else type_name(error)
