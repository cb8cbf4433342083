"""The parts of the Python reference: a table of all public names, and the names of each module for Sphinx."""

import importlib
import inspect
import re
from types import ModuleType

from syft_flwr import errors

#: Each module with public names, and the page that has them.
MODULES = {
    "syft_flwr": "package",
    "syft_flwr.fl_orchestrator": "fl_orchestrator",
    "syft_flwr.errors": "errors",
    "syft_flwr.testing": "testing",
    "syft_flwr.testing.transport_contract": "transport_contract",
    "syft_flwr.testing.syftbox": "syftbox",
    "syft_flwr.testing.gdrive": "gdrive",
}
#: Types of arguments and results that no public module exports.
_TYPES = (
    "syft_flwr.config.settings.Settings",
    "syft_flwr.config.search.Setting",
    "syft_flwr.config.user_config.PrivateConfig",
    "syft_flwr.runs.recorded_run.RunPaths",
    "syft_flwr.runs.entry.RecordEntry",
    "syft_flwr.runs.history.RecordedRound",
    "syft_flwr.runs.history.RecordedRequest",
    "syft_flwr.runs.history.RecordedWarning",
    "syft_flwr.runs.account.FailedRequest",
    "syft_flwr.runs.owner_counts.OwnerCounts",
    "syft_flwr.runs.owner_counts.UnansweredRequest",
    "syft_flwr.runs.owner_counts.TransferProgress",
    "syft_flwr.runs.outcome.AppEnd",
    "syft_flwr.runs.outcome.Loss",
    "syft_flwr.runs.outcome.RunOutcome",
    "syft_flwr.names.AppNames",
    "syft_flwr.names.ObjectName",
    "syft_flwr.transport.base.Transport",
    "syft_flwr.transport.base.Properties",
    "syft_flwr.transport.base.Entry",
    "syft_flwr.transport.base.Watch",
    "syft_flwr.transport.base.Reopening",
    "syft_flwr.clock.Clock",
)
_CONTRACT = "syft_flwr.testing.transport_contract"


def public_names(module: str) -> list[str]:
    """Return the public names of a module that are no modules themselves, in its order."""
    found = importlib.import_module(module)
    if module == _CONTRACT:
        # All its other names are tests.
        return ["Storage"]
    if module == errors.__name__:
        return [name for name, value in vars(found).items() if inspect.isclass(value) and value.__module__ == module]
    return [name for name in found.__all__ if not inspect.ismodule(getattr(found, name))]


def names_of(module: str) -> str:
    """Return a heading and a directive of Sphinx for each public name of a module."""
    about = f"```{{eval-rst}}\n.. automodule:: {module}\n```\n\n" if module == _CONTRACT else ""
    return about + "\n".join(_entry(module, name) for name in public_names(module))


def types() -> str:
    """Return an entry for each type that only arguments and results have."""
    return "\n".join(_entry(*name.rsplit(".", 1)) for name in _TYPES)


def _entry(module: str, name: str) -> str:
    value = getattr(importlib.import_module(module), name)
    if inspect.isclass(value) and value.__name__ != name:
        # Exported under another name than its own.
        return f"{_directive(module, name, 'autoclass', '')}\n{_entry(value.__module__, value.__name__)}"
    if not callable(value):
        kind, options = "autodata", ""
    elif not inspect.isclass(value):
        kind, options = "autofunction", ""
    else:
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
        options = "   :members:\n" + ("   :show-inheritance:\n" if kind == "autoexception" else "")
    if inspect.isclass(value) and (others := _other_bases(value)):
        options += f"   :inherited-members: {', '.join(others)}\n"
    return _directive(module, name, kind, options)


def _other_bases(kind: type) -> list[str]:
    """Return the classes of other packages among the bases, if one base is of this package; no entry has their members."""
    names = [base.__name__ for base in kind.__mro__[1:] if base.__module__.partition(".")[0] != "syft_flwr"]
    return names if len(names) < len(kind.__mro__) - 1 and not issubclass(kind, Exception) else []


def _directive(module: str, name: str, kind: str, options: str) -> str:
    meaning = f"\n   {error_meanings()[name]}\n" if kind == "autoexception" else ""
    return f"## `{name}`\n\n```{{eval-rst}}\n.. {kind}:: {module}.{name}\n{options}{meaning}```\n"


def error_meanings() -> dict[str, str]:
    """Return the meaning of each exception, from the tree in the docstring of their module."""
    rows = re.findall(r"^[│├└─\s]*(\w+Error) {2,}(.+)$", inspect.getdoc(errors) or "", re.M)
    root = (inspect.getdoc(errors.SyftFlwrError) or "").rstrip(".")
    return {name: f"{text[0].upper()}{text[1:]}." for name, text in [*rows, ("SyftFlwrError", root)]}


def names_table() -> str:
    """Return a table of all public names with their purpose."""
    rows = [
        f"| [`{module}.{name}`](api/{page}.md#{name.lower()}) | {_purpose(importlib.import_module(module), name)} |"
        for module, page in MODULES.items()
        for name in public_names(module)
    ]
    return "\n".join(["| name | purpose |", "| --- | --- |", *rows, ""])


def _purpose(module: ModuleType, name: str) -> str:
    value = getattr(module, name)
    if module is errors:
        return error_meanings()[name]
    if isinstance(value, str):
        return "The release of this package."
    first = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    plain = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", first.replace("``", "`"))
    return plain.partition(". ")[0].rstrip(".") + "."
