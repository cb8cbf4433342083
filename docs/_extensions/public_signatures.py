"""Shows the Python API as its users see it: without private parameters, and with the whole text of each property."""

import inspect
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata


def _simplify(_app: Sphinx, function: Any, _is_bound: bool) -> None:
    try:
        signature = inspect.signature(function)
    except ValueError:
        # A class without an own constructor, such as a subclass of dict.
        return
    all_parameters = list(signature.parameters.values())
    shown = [_plain(each) for each in all_parameters if not each.name.startswith("_")]
    if shown != all_parameters:
        function.__signature__ = signature.replace(parameters=shown)


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    # Sphinx cannot parse the default of a field with a default_factory.
    return parameter.replace(default=...) if repr(parameter.default) == "<factory>" else parameter


def _keep_colons(_app: Sphinx, kind: str, _name: str, _object: Any, _options: Any, lines: list[str]) -> None:
    # The extension napoleon takes the words before a colon in the first line for the type of a property.
    if kind in {"property", "attribute"}:
        # A comment without text.
        lines[:0] = ["..", ""]


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("autodoc-before-process-signature", _simplify)
    # Before napoleon, which has the priority 500.
    app.connect("autodoc-process-docstring", _keep_colons, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
