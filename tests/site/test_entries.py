"""Each public name, command, option, setting, exit code, reason and event has an entry in the built site."""

import importlib
import inspect
from typing import Any

import api_reference
import command_reference
import pytest
from sitekit.built import SITE, entries, pages

import syft_flwr
from syft_flwr import errors
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr.cli.exits import ExitCode
from syft_flwr.config import search
from syft_flwr.doctor.table import CHECKS
from syft_flwr.runs import events

#: Every name by its kind in the inventory.
_KINDS: dict[str, list[str]] = {
    "std:command": [f"syft-flwr {name}" for name in command_reference.commands()],
    "std:setting": [*search.FIELDS, *(field.environment for field in search.FIELDS.values() if field.environment)],
    "std:exit-code": [f"exit code {code.value}" for code in ExitCode],
    "std:reason": [reason.value for reason in Reason],
    "std:event": list(events.EVENTS),
    "std:check": [check.name for check in CHECKS],
}


@pytest.mark.parametrize("kind", _KINDS)
def test_each_kind_has_exactly_its_entries(kind: str) -> None:
    assert _KINDS[kind]
    assert {name for found, name in entries() if found == kind} == set(_KINDS[kind])


@pytest.mark.parametrize("name", command_reference.commands())
def test_each_option_of_a_command_has_an_entry(name: str) -> None:
    command: Any = command_reference.commands()[name]
    options = [each for parameter in command.params if parameter.param_type_name == "option" for each in parameter.opts]
    assert options or hasattr(command, "commands")
    missing = [option for option in options if ("std:option", f"syft-flwr {name} {option}") not in entries()]
    assert missing == []


@pytest.mark.parametrize("module", api_reference.MODULES)
def test_each_public_name_has_an_entry(module: str) -> None:
    names = [f"{module}.{name}" for name in api_reference.public_names(module)]
    python = {name for kind, name in entries() if kind.startswith("py:")}
    assert names
    assert [name for name in names if name not in python] == []


def test_the_reference_has_every_public_module() -> None:
    testing = importlib.import_module("syft_flwr.testing")
    assert set(syft_flwr.__all__) - set(api_reference.public_names("syft_flwr")) == {"errors"}
    assert set(testing.__all__) == set(api_reference.public_names("syft_flwr.testing"))
    kinds = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert kinds == set(api_reference.public_names("syft_flwr.errors")) == set(api_reference.error_meanings())


def test_every_entry_is_an_element_of_its_page() -> None:
    wrong = []
    for (kind, name), address in entries().items():
        path, _, anchor = address.partition("#")
        if not (SITE / path).is_file() or (anchor and anchor not in pages()[path].anchors):
            wrong.append((kind, name, address))
    assert wrong == []


def test_signatures_have_types_and_no_private_parts() -> None:
    page = (SITE / "docs/reference/api/package.html").read_text(encoding="utf-8")
    assert "_history" not in page
    assert "https://docs.python.org/3/library/datetime.html#datetime.datetime" in page
    flower = (SITE / "docs/reference/api/fl_orchestrator.html").read_text(encoding="utf-8")
    assert "https://flower.ai/docs/framework/ref-api/flwr.serverapp.ServerApp.html" in flower
