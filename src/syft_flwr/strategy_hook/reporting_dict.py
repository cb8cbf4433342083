"""The dicts of a Flower ``Result`` while a hook is open: they report each entry when the strategy adds it.

For the app they are dicts: equal to a dict with the same entries, with the same text. Their copies and pickles are plain
dicts, and so is each object that their type makes (``dataclasses.asdict`` calls the type).
"""

from collections.abc import Callable
from typing import Any

from flwr.serverapp.strategy import Result

#: The attributes of ``Result`` with metrics by round, and the source of each.
SOURCES = {
    "train_metrics_clientapp": "train",
    "evaluate_metrics_clientapp": "evaluate",
    "evaluate_metrics_serverapp": "central",
}


class ReportingDict(dict[int, Any]):
    """A dict that calls ``report`` with each entry after it was set; only :meth:`create` makes one."""

    __slots__ = ("report",)
    report: Callable[[int, Any], None]

    def __new__(cls, *content: Any, **named: Any) -> Any:
        """Return a plain dict."""
        return dict(*content, **named)

    @classmethod
    def create(cls, report: Callable[[int, Any], None]) -> "ReportingDict":
        """Return an empty dict that reports."""
        made = dict.__new__(cls)
        made.report = report
        return made

    def __reduce__(self) -> tuple[type, tuple[dict[int, Any]]]:
        """Return how to copy and pickle this dict: as a plain dict."""
        return dict, (dict(self),)

    def __setitem__(self, server_round: int, values: Any) -> None:
        """Set the entry, then report it."""
        super().__setitem__(server_round, values)
        self.report(server_round, values)

    def setdefault(self, server_round: int, default: Any = None) -> Any:
        """Return the entry, after it was set and reported if it was missing."""
        if server_round not in self:
            self[server_round] = default
        return self[server_round]

    def update(self, *content: Any, **named: Any) -> None:
        """Set and report each entry."""
        for server_round, values in dict(*content, **named).items():
            self[server_round] = values

    def __ior__(self, other: Any) -> Any:  # type: ignore[misc]  # __or__ is that of dict
        """Set and report each entry of ``other``."""
        self.update(other)
        return self


def put_reporting_dicts(result: Result, given: set[str], report: Callable[[str, int, Any], None]) -> None:
    """Replace the new dicts of ``result``, but keep each one that the app passed, because the app may hold it."""
    for name, source in SOURCES.items():
        if name not in given and type(found := getattr(result, name, None)) is dict and not found:
            setattr(result, name, ReportingDict.create(_with_source(report, source)))


def put_plain_dicts(results: list[Result]) -> None:
    """Replace the reporting dicts of ``results``; a dict that two of them share stays shared."""
    plain: dict[int, tuple[ReportingDict, dict[int, Any]]] = {}
    for result in results:
        for name in SOURCES:
            found = getattr(result, name, None)
            if isinstance(found, ReportingDict):
                setattr(result, name, plain.setdefault(id(found), (found, dict(found)))[1])


def _with_source(report: Callable[[str, int, Any], None], source: str) -> Callable[[int, Any], None]:
    return lambda server_round, values: report(source, server_round, values)
