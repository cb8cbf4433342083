"""Shows that no text of a reply tells about the machine of its data owner: no path, no name of a user, no value."""

import ast
import itertools
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faultkit.federation import OWNERS, Federation, reason_of
from faultkit.forge import Forge
from faultkit.lone_worker import lone_worker
from faultkit.relay import Relay
from faultkit.storage import MemoryStorage
from flwr.app import Context, Message

import syft_flwr
from syft_flwr import errors
from syft_flwr._messaging.answering import answers, inbox
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire.body import Body
from syft_flwr.errors import LocalProtocolError, StoreError, SyftFlwrError
from syft_flwr.fl_orchestrator import app_runner, client
from syft_flwr.fl_orchestrator.app_exceptions import how_it_ends, load_cause, load_text
from syft_flwr.fl_orchestrator.relayed_worker import RelayedWorker

OWNER = OWNERS[0]
#: Parts of :data:`TEXT` that no reply may contain.
SECRETS = ("anna", "patients", "/home", "4711", "31415")
PATH = "/home/anna/patients.csv"
TEXT = f"{PATH} of anna: patient 4711, and 31415 bytes are free"

Make = Callable[[], Exception]
#: A maker for each class of errors of this package.
OF_PACKAGE: dict[str, Make] = {
    name: (lambda kind=kind: kind(TEXT, hint=TEXT))  # type: ignore[misc]
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, SyftFlwrError)
}


class OwnName(str):
    """A text whose format is another text."""

    def __format__(self, spec: str) -> str:
        return PATH


#: Other errors that a disk, a parser or an app can raise.
OTHERS: dict[str, Make] = {
    "FileNotFoundError": lambda: FileNotFoundError(2, TEXT, PATH),
    "a full disk": lambda: OSError(28, TEXT, PATH),
    "ImportError": lambda: ImportError(TEXT, name=PATH, path=PATH),
    "ModuleNotFoundError": lambda: ModuleNotFoundError(TEXT, name=TEXT),
    "SyntaxError": lambda: SyntaxError(TEXT, (PATH, 1, 1, TEXT)),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", TEXT.encode(), 0, 1, TEXT),
    "JSONDecodeError": lambda: json.JSONDecodeError(TEXT, TEXT, 0),
    "a database": lambda: sqlite3.OperationalError(TEXT),
    "KeyError": lambda: KeyError(TEXT),
    "an app's own class": type("OwnError", (Exception,), {"__str__": lambda _: TEXT}),
    "a class with a path as its name": lambda: type(PATH, (Exception,), {})(TEXT),
    "a module name of an own class": lambda: ModuleNotFoundError(TEXT, name=OwnName("numpy")),
}


def require_no_secret(sent: str | bytes) -> None:
    text = sent if isinstance(sent, str) else sent.decode(errors="replace")
    assert text
    # A reference is random, so it can contain the number of a secret.
    text = re.sub(r"\b[0-9a-f]{12}\b", "", text)
    assert not [secret for secret in SECRETS if secret in text]


class FailingRelay(Relay):
    """A worker with an app that raises, if a test sets an error."""

    error: Make | None = None

    def echo(self, message: Message, context: Context) -> Message:
        if self.error:
            raise self.error()
        # So that the new state is saved.
        context.state["calls"] = message.content.config_records["config"]
        return super().echo(message, context)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[FailingRelay]:
    relay = FailingRelay(tmp_path)
    yield relay
    relay.close()


#: The places of the worker that can fail, with the errors that they can raise.
PLACES: dict[str, tuple[Any, str, dict[str, Make]]] = {
    "the content": (app_runner, "message_from_buffers", OF_PACKAGE | OTHERS),
    "the labels": (app_runner, "round_of", OF_PACKAGE | OTHERS),
    "the old state": (app_runner.AppRunner, "_context_of", OF_PACKAGE | OTHERS),
    "the codec": (app_runner, "message_to_buffers", OF_PACKAGE | OTHERS),
    "the arrays": (app_runner, "make_body", OF_PACKAGE | OTHERS),
    "the new state": (app_runner, "write_in_folder", OF_PACKAGE | OTHERS),
    "the download": (RelayedWorker, "_bring", OF_PACKAGE),
    "the upload": (RelayedWorker, "_send", OF_PACKAGE),
}


@pytest.mark.parametrize("place", PLACES)
def test_error_of_the_worker_tells_only_its_class(
    relay: FailingRelay, monkeypatch: pytest.MonkeyPatch, logged: list[str], place: str
) -> None:
    owner, name, makes = PLACES[place]
    for make in makes.values():
        monkeypatch.setattr(owner, name, _raising(itertools.repeat(make)))
        body = relay.run().body
        assert body.manifest.error
        require_no_secret(body.encode())
        # The owner can read the whole text.
        assert "4711" in logged[-1]
        logged.clear()


@pytest.mark.parametrize("name", OF_PACKAGE | OTHERS)
def test_exception_of_the_app_tells_only_its_class(relay: FailingRelay, logged: list[str], name: str) -> None:
    relay.error = (OF_PACKAGE | OTHERS)[name]
    body = relay.run().body
    assert body.manifest.error
    require_no_secret(body.encode())
    assert "4711" in logged[-1]


@pytest.mark.parametrize("name", OF_PACKAGE | OTHERS)
def test_app_that_cannot_be_loaded_tells_only_a_class(name: str) -> None:
    error = (OF_PACKAGE | OTHERS)[name]()
    require_no_secret(load_cause(error))
    require_no_secret(how_it_ends(error))
    if name in OF_PACKAGE:
        assert "4711" in load_text(error)


def test_missing_module_is_named() -> None:
    assert load_cause(ModuleNotFoundError(TEXT, name="torch.nn")) == "ModuleNotFoundError: No module named 'torch.nn'"


@pytest.mark.parametrize("command", ["{folder}/anna-4711", "sh -c 'exit 3' {folder}/anna-4711"])
def test_worker_command_does_not_leave_the_machine(tmp_path: Path, command: str) -> None:
    with lone_worker(tmp_path, command=command.format(folder=tmp_path)) as lone:
        told = lone.error("echo")
    require_no_secret(told)
    assert str(tmp_path) not in told


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", memory, [OWNER]) as federation:
        federation.start()
        federation.assert_served()
        yield federation


def _raising(makes: Iterator[Make]) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        make = next(makes)
        raise make()

    return fail


#: The places of the client that can refuse a request. A store error is no refusal: the request is read again.
REFUSALS = {
    "its control": (client, "read_config"),
    "its body": (inbox, "require_request"),
    "its objects": (ObjectFolder, "missing"),
}


@pytest.mark.parametrize("place", REFUSALS)
def test_refusal_of_the_client_tells_only_a_class(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, logged: list[str], place: str
) -> None:
    makes = [
        make
        for make in OF_PACKAGE.values()
        if not isinstance(error := make(), StoreError)
        and not (place == "its objects" and getattr(error, "transient", 0))
    ]
    forge = Forge(federation, OWNER)
    requests = [forge.request() for _ in makes]
    owner, name = REFUSALS[place]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, _raising(itertools.cycle(makes)))
        for file, data in requests:
            federation.storage.plant(file, data)
        told = [forge.open_error(file) for file, _ in requests]
    for error in told:
        require_no_secret(error.model_dump_json())
    # The classes have different meanings.
    assert len({error.text for error in told}) > 5
    if place != "its objects":
        assert any("4711" in line for line in logged)
    assert not federation[OWNER].journal.calls_of(requests[0][0])


def test_reply_that_the_protocol_forbids_tells_only_a_class(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    seal, makes = answers.seal_response, iter([lambda: LocalProtocolError(TEXT, hint=TEXT)])

    def seal_later(body: Body, **options: Any) -> bytes:
        for make in makes:
            raise make()
        return seal(body, **options)

    with monkeypatch.context() as patch:
        patch.setattr(answers, "seal_response", seal_later)
        (failed,) = federation.ask("answer")
    assert reason_of(failed) == f"{OWNER}: invalid: the reply is not allowed by the protocol"
    assert any("4711" in line for line in logged)


def test_all_texts_that_leave_are_made_in_one_module() -> None:
    root = Path(syft_flwr.__file__).parent
    makers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("failure", "Failure")
    }
    # The aggregator ends its own requests, and sends none of these texts.
    of_owner = {maker for maker in makers if "/asking/" not in maker}
    assert of_owner == {"_messaging/wire/body.py", "_messaging/wire/failures.py"}
