"""Shows the handling of forged, foreign and incomplete files in the request folder of a data owner.

The data owner ignores each such file, with one log line that names the file and the reason. It does not call the app and
writes no reply. It answers honest requests before and after.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from faultkit.federation import AGGREGATOR, NAMES, OUTSIDER, OWNERS, Federation
from faultkit.forge import (
    Forge,
    empty_body,
    long_ago,
    repeated_body,
    signed_again,
    unreadable_body,
    unsigned,
    with_other_body,
)
from faultkit.storage import FolderStorage
from waiting import eventually

from syft_flwr import log_once
from syft_flwr._messaging.wire.failures import told_by
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE, MAX_FIELDS, MAX_USES
from syft_flwr.errors import MalformedError

OWNER = OWNERS[0]


@pytest.fixture
def federation(tmp_path: Path, folder: FolderStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", folder, [OWNER]) as federation:
        federation.start()
        federation.assert_served()
        yield federation


@pytest.fixture
def forge(federation: Federation) -> Forge:
    return Forge(federation, OWNER)


def lines_about(logged: list[str], name: str) -> list[str]:
    return [line for line in logged if name in line]


def id_of(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".request")


def response_to(name: str) -> str:
    return name.removesuffix(".request") + ".response"


def withdraw(federation: Federation, name: str) -> None:
    """Wait for the reply to a forged request, then withdraw the request as a genuine sender does."""
    eventually(lambda: federation.storage.read(response_to(name)), f"a reply to {name}")
    Forge(federation, OWNER).withdraw(name)


def assert_passed_over(federation: Federation, logged: list[str], name: str, reason: str) -> None:
    """Wait for the log line about ``name``. Check that the file has no other effect, and that honest requests are answered."""
    calls = len(federation[OWNER].journal.calls)
    line = eventually(lambda: lines_about(logged, name), f"a line in the log about {name}")[0]
    assert line.startswith("WARNING")
    assert reason in line
    federation[OWNER].spy.wait_for_scans()
    assert len(lines_about(logged, name)) == 1
    assert len(federation[OWNER].journal.calls) == calls
    assert not federation.storage.read(response_to(name))
    federation.assert_served()


Made = Callable[[Forge], tuple[str, bytes]]

#: For each kind of file, the function that makes it, and the reason in the log.
FORGERIES: dict[str, tuple[Made, str]] = {
    "unsigned": (lambda forge: changed(forge, unsigned), "the signature does not match"),
    "signed again by another key": (
        lambda forge: changed(forge, lambda data: signed_again(data, forge.outsider_keys)),
        "the signature does not match",
    ),
    "of another body than was signed": (lambda forge: changed(forge, with_other_body), "the signature does not match"),
    "made by an outsider in the aggregator's name": (
        lambda forge: forge.request(signer=forge.outsider_keys, sender_key=forge.outsider_keys.public.key_id),
        "the signature does not match",
    ),
    "made by an outsider in its own name": (
        lambda forge: forge.request(
            signer=forge.outsider_keys, sender=OUTSIDER, sender_key=forge.outsider_keys.public.key_id
        ),
        f"{OUTSIDER} is not the aggregator that this datasite serves ({AGGREGATOR})",
    ),
    "made by the other data owner in its own name": (
        lambda forge: forge.request(sender=OWNERS[1]),
        f"{OWNERS[1]} is not the aggregator that this datasite serves ({AGGREGATOR})",
    ),
    "moved under another id": (
        lambda forge: (forge.request()[0], forge.request()[1]),
        "its id is not",
    ),
    "meant for another data owner": (
        lambda forge: _in_place(forge, recipient=OWNERS[1]),
        "its recipient is not",
    ),
    "meant for another app": (lambda forge: _in_place(forge, app="another"), "its app is not"),
    "sealed to an older key": (lambda forge: forge.request(recipient_key="0" * 32), "its recipient_key is not"),
    "a response": (lambda forge: _in_place(forge, kind="response", answers="0" * 64), "its kind is not"),
    "expired": (lambda forge: forge.request(**long_ago(forge.federation)), "it expired at"),
    "from the future": (
        lambda forge: _in_place(
            forge,
            created=forge.federation.clock.now() + timedelta(hours=2),
            expires=forge.federation.clock.now() + timedelta(hours=3),
        ),
        "its times cannot be right",
    ),
    "valid for a year": (
        lambda forge: _in_place(forge, expires=forge.federation.clock.now() + timedelta(days=365)),
        "its times cannot be right",
    ),
    "oversized": (lambda forge: (_name(), bytes(MAX_ENVELOPE + 1)), f"at most {MAX_ENVELOPE} are accepted"),
    "plaintext": (lambda forge: (_name(), b"train on everything, please"), "not an envelope"),
    "the JSON of another implementation": (
        lambda forge: (_name(), b'{"method": "POST", "body": "dHJhaW4="}'),
        "JSON message of another implementation of SyftBox RPC",
    ),
    "named as another implementation names its files": (
        lambda forge: (
            NAMES.request(OWNER, AGGREGATOR, "8f14e45f-ceea-4e57-a1d2-0fb8a3bb7f2f"),
            b'{"method": "POST", "body": "dHJhaW4="}',
        ),
        "its name does not have the form of a request",
    ),
    "of a later version": (
        lambda forge: changed(forge, lambda data: data[:8] + b"\x04" + data[9:]),
        "this release reads version 3",
    ),
    "longer than it says": (lambda forge: changed(forge, lambda data: data + b"more"), "longer than its header says"),
    "with a header in another spelling": (
        lambda forge: changed(forge, lambda data: data.replace(b'"app":', b'"App":')),
        "the header",
    ),
}


def _name() -> str:
    return NAMES.request(OWNER, AGGREGATOR, secrets.token_hex(16))


def changed(forge: Forge, change: Callable[[bytes], bytes]) -> tuple[str, bytes]:
    name, data = forge.request()
    return name, change(data)


def _in_place(forge: Forge, **changes: object) -> tuple[str, bytes]:
    """Return a request with these header fields, and the name of a genuine request with the same id."""
    message_id = secrets.token_hex(16)
    _, data = forge.request(id=message_id, **changes)
    return NAMES.request(OWNER, AGGREGATOR, message_id), data


@pytest.mark.parametrize("kind", FORGERIES)
def test_forged_request_is_logged_and_not_run(
    federation: Federation, forge: Forge, logged: list[str], kind: str
) -> None:
    make, reason = FORGERIES[kind]
    name, data = make(forge)
    federation.storage.plant(name, data)
    assert_passed_over(federation, logged, name, reason)


@pytest.mark.parametrize("form", [NAMES.request(OWNER, OUTSIDER, "{:032x}"), NAMES.request(OWNER, AGGREGATOR, "x{}")])
def test_many_bad_files_hide_no_other_line(
    federation: Federation, forge: Forge, logged: list[str], monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setattr(log_once, "_CAPACITY", 5)
    names = [form.format(number) for number in range(20)]
    for name in names:
        federation.storage.plant(name, b"train on everything, please")
    eventually(lambda: any("further ones are dropped" in line for line in logged), "the end of these lines")
    federation[OWNER].spy.wait_for_scans(2)
    assert len([name for name in names if lines_about(logged, name)]) == 5
    name, data = changed(forge, unsigned)
    federation.storage.plant(name, data)
    assert_passed_over(federation, logged, name, "the signature does not match")


def test_valid_request_from_the_forge_is_run(federation: Federation, forge: Forge) -> None:
    name, data = forge.request()
    federation.storage.plant(name, data)
    federation[OWNER].journal.wait_for_call(id_of(name))
    withdraw(federation, name)


def test_torn_request_is_answered_when_complete(
    federation: Federation, forge: Forge, logged: list[str], folder: FolderStorage
) -> None:
    name, data = forge.request()
    message_id = id_of(name)
    path = folder.path(name)
    with path.open("wb", buffering=0) as file:
        for end in (1, 10, 13, 100, len(data) - 1):
            file.write(data[file.tell() : end])
            federation[OWNER].spy.wait_for_scans(2)
            assert not federation[OWNER].journal.calls_of(message_id)
            assert not folder.read(response_to(name))
        line = eventually(lambda: lines_about(logged, name), "a line about the torn request")
        assert "cut off" in line[0]
        federation.assert_served()
        file.write(data[-1:])
    federation[OWNER].journal.wait_for_call(message_id)
    withdraw(federation, name)
    assert len(federation[OWNER].journal.calls_of(message_id)) == 1


def test_empty_request_is_answered_when_complete(federation: Federation, forge: Forge, folder: FolderStorage) -> None:
    name, data = forge.request()
    folder.path(name).touch()
    federation[OWNER].spy.wait_for_scans()
    federation.assert_served()
    folder.path(name).write_bytes(data)
    federation[OWNER].journal.wait_for_call(id_of(name))
    withdraw(federation, name)


def test_replayed_request_is_deleted_and_not_run(federation: Federation, logged: list[str]) -> None:
    (message_id,) = federation.push("answer", OWNER)
    name = federation.request_name(OWNER, message_id)
    data = federation.storage.read(name)
    federation.pull([message_id])
    eventually(lambda: not federation.storage.read(federation.response_name(OWNER, message_id)), "the end of it")
    federation.storage.plant(name, data)
    eventually(lambda: not federation.storage.read(name), "the deletion of the replay by the aggregator")
    federation[OWNER].spy.wait_for_scans()
    assert lines_about(logged, name) == []
    assert len(federation[OWNER].journal.calls_of(message_id)) == 1


def test_request_with_a_used_id_is_logged_and_not_run(federation: Federation, forge: Forge, logged: list[str]) -> None:
    (message_id,) = federation.push("answer", OWNER)
    federation.pull([message_id])
    eventually(lambda: not federation.storage.read(federation.response_name(OWNER, message_id)), "the end of it")
    name, data = forge.request(id=message_id)
    # The aggregator deletes a file that it withdrew before. The data owner must see it first.
    federation.spy.hidden = (name,)
    federation.storage.plant(name, data)
    assert_passed_over(federation, logged, name, "its id was used before")


def test_request_of_an_ended_run_is_refused(federation: Federation, forge: Forge) -> None:
    federation.stop()
    federation.start()
    federation.assert_served()
    name, data = forge.request(run=1001)
    federation.storage.plant(name, data)
    error = forge.open_error(name)
    assert (error.code, error.text) == ("stopped", "this run is over")
    assert not federation[OWNER].journal.calls_of(id_of(name))
    federation.assert_served()


def test_plain_text_request_is_refused(federation: Federation, forge: Forge, logged: list[str]) -> None:
    """The request is authentic, so the aggregator gets a sealed error. The app is not called."""
    name, data = forge.request(sealed=False)
    federation.storage.plant(name, data)
    error = forge.open_error(name)
    assert error.code == "encryption"
    assert f"{AGGREGATOR} has encryption off, and it is on here" in error.text
    assert any("SYFT_FLWR_ENCRYPTION_ENABLED" in line for line in logged)
    assert not federation[OWNER].journal.calls_of(id_of(name))
    federation.assert_served()


def test_undecryptable_request_is_refused_without_key_leak(
    federation: Federation, forge: Forge, logged: list[str]
) -> None:
    genuine, forge.owner_keys = forge.owner_keys, forge.outsider_keys
    name, data = forge.request(recipient_key=genuine.public.key_id)
    forge.owner_keys = genuine
    federation.storage.plant(name, data)
    error = forge.open_error(name)
    assert (error.code, error.text) == ("encryption", "the body cannot be decrypted")
    assert not federation[OWNER].journal.calls_of(id_of(name))
    federation.assert_served()
    text = "\n".join(logged)
    for identity in (forge.aggregator_keys, forge.owner_keys):
        secret = identity.private_bytes
        for start in range(0, len(secret), 4):
            part = secret[start : start + 4]
            assert part.hex() not in text
            assert repr(part)[2:-1] not in text


UNREADABLE = {
    "a query of nothing": ("query", empty_body(), "no run configuration in its envelope"),
    "a control message of nothing": ("system", empty_body(), "no run configuration in its envelope"),
    "a query without a message": ("query", unreadable_body(), "the content is not a Flower message"),
    "a control message without a message": ("system", unreadable_body(), "the content is not a Flower message"),
    "a query of very many fields": (
        "query",
        unreadable_body(b"\x78\x00" * (MAX_FIELDS + 1)),
        "the content has too many small parts",
    ),
    "a query that names the same bytes five times": (
        "query",
        repeated_body(MAX_USES + 1),
        "more than 4 buffers name the same bytes",
    ),
    "a control message that asks for an unknown action": ("system", None, "unknown action"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_authentic_request_gets_an_error(
    federation: Federation, forge: Forge, logged: list[str], kind: str
) -> None:
    """An aggregator of another release may send such a request. It gets an error at once, and not at its timeout."""
    message_type, body, reason = UNREADABLE[kind]
    name, data = forge.request(body=body, type=message_type)
    federation.storage.plant(name, data)
    error = forge.open_error(name)
    assert error.code == "invalid"
    # Only some reasons are written for the aggregator. The log of the data owner has all of them.
    assert reason in error.text or error.text == told_by(MalformedError(reason))
    assert any(reason in line for line in logged)
    assert not federation[OWNER].journal.calls_of(id_of(name))
    federation.assert_served()


def test_symbolic_link_as_request_is_not_followed(
    federation: Federation, forge: Forge, folder: FolderStorage, tmp_path: Path
) -> None:
    name, data = forge.request()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(data)
    folder.path(name).symlink_to(elsewhere)
    federation[OWNER].spy.wait_for_scans()
    assert not federation[OWNER].journal.calls_of(id_of(name))
    federation.assert_served()


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_pipe_or_folder_as_request_blocks_nothing(federation: Federation, folder: FolderStorage, kind: str) -> None:
    path = folder.path(_name())
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    federation[OWNER].spy.wait_for_scans()
    federation.assert_served()


def test_huge_request_is_refused_unread(federation: Federation, logged: list[str], folder: FolderStorage) -> None:
    name = _name()
    with folder.path(name).open("wb") as file:
        file.truncate(1 << 40)
    assert_passed_over(federation, logged, name, f"has {1 << 40} bytes")


def test_many_invalid_files_do_not_block_requests(federation: Federation, folder: FolderStorage) -> None:
    for _ in range(300):
        folder.path(_name()).write_bytes(b"rubbish")
    federation[OWNER].spy.wait_for_scans(1)
    federation.assert_served()
