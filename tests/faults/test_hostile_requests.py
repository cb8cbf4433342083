"""Files in a data owner's request folder that no honest aggregator put there, or that are not all there.

Each is passed over with one line in the data owner's log that names the file and says why; the app is not called, the
aggregator gets nothing that it did not ask for, and honest requests are answered before and after.
"""

import os
import secrets
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from faultkit.federation import AGGREGATOR, NAMES, OUTSIDER, OWNERS, Federation
from faultkit.forge import Forge, empty_body, long_ago, signed_again, unsigned, with_other_body
from faultkit.storage import FolderStorage
from waiting import eventually

from syft_flwr._messaging.wire.limits import MAX_ENVELOPE

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
    """Wait until a forged request was answered, and take it away, as a genuine sender does."""
    eventually(lambda: federation.storage.read(response_to(name)), f"an answer to {name}")
    federation.storage.take(name)
    eventually(lambda: not federation.storage.read(response_to(name)), f"the end of {name}")


def assert_passed_over(federation: Federation, logged: list[str], name: str, reason: str) -> None:
    """Wait for the one line about ``name``; then show that nothing else came of the file, and that others are served."""
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

#: What lies there, and what the log says of it.
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
        "its name is not that of a request",
    ),
    "of a later version": (
        lambda forge: changed(forge, lambda data: data[:8] + b"\x02" + data[9:]),
        "this release reads version 1",
    ),
    "longer than it says": (lambda forge: changed(forge, lambda data: data + b"more"), "longer than it says"),
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
    """Make a request with these fields, and put it where the aggregator's request with its id would lie."""
    message_id = secrets.token_hex(16)
    _, data = forge.request(id=message_id, **changes)
    return NAMES.request(OWNER, AGGREGATOR, message_id), data


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_request_that_nobody_may_believe_is_named_and_not_run(
    federation: Federation, forge: Forge, logged: list[str], kind: str
) -> None:
    make, reason = FORGERIES[kind]
    name, data = make(forge)
    federation.storage.plant(name, data)
    assert_passed_over(federation, logged, name, reason)


def test_what_the_forge_makes_without_a_fault_is_believed(federation: Federation, forge: Forge) -> None:
    name, data = forge.request()
    federation.storage.plant(name, data)
    federation[OWNER].journal.wait_for_call(id_of(name))
    withdraw(federation, name)


def test_a_torn_request_is_named_and_waited_for_and_answered_when_the_rest_comes(
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


def test_an_empty_request_is_waited_for(federation: Federation, forge: Forge, folder: FolderStorage) -> None:
    name, data = forge.request()
    folder.path(name).touch()
    federation[OWNER].spy.wait_for_scans()
    federation.assert_served()
    folder.path(name).write_bytes(data)
    federation[OWNER].journal.wait_for_call(id_of(name))
    withdraw(federation, name)


def test_a_replayed_request_is_named_and_not_run_again(federation: Federation, logged: list[str]) -> None:
    (message_id,) = federation.push("answer", OWNER)
    name = federation.request_name(OWNER, message_id)
    data = federation.storage.read(name)
    federation.pull([message_id])
    eventually(lambda: not federation.storage.read(federation.response_name(OWNER, message_id)), "the end of it")
    federation.storage.plant(name, data)
    assert_passed_over(federation, logged, name, "this is a replay")
    assert len(federation[OWNER].journal.calls_of(message_id)) == 1


def test_another_request_under_a_used_id_is_named_and_not_run(
    federation: Federation, forge: Forge, logged: list[str]
) -> None:
    (message_id,) = federation.push("answer", OWNER)
    federation.pull([message_id])
    eventually(lambda: not federation.storage.read(federation.response_name(OWNER, message_id)), "the end of it")
    name, data = forge.request(id=message_id)
    federation.storage.plant(name, data)
    assert_passed_over(federation, logged, name, "its id was used before")


def test_a_request_of_a_run_that_is_over_is_refused_and_not_run(federation: Federation, forge: Forge) -> None:
    federation.stop()
    federation.start()
    federation.assert_served()
    name, data = forge.request(run=1001)
    federation.storage.plant(name, data)
    error = forge.open_error(name)
    assert (error.code, error.text) == ("stopped", "this run is over")
    assert not federation[OWNER].journal.calls_of(id_of(name))
    federation.assert_served()


def test_a_signed_request_in_plain_text_is_refused_with_the_setting_that_differs(
    federation: Federation, forge: Forge, logged: list[str]
) -> None:
    """The aggregator is told, because it is authentic; nothing of it is run, and the refusal is sealed."""
    name, data = forge.request(sealed=False)
    federation.storage.plant(name, data)
    error = forge.open_error(name)
    assert error.code == "encryption"
    assert f"{AGGREGATOR} has encryption off, and it is on here" in error.text
    assert any("SYFT_FLWR_ENCRYPTION_ENABLED" in line for line in logged)
    assert not federation[OWNER].journal.calls_of(id_of(name))
    federation.assert_served()


def test_a_request_that_does_not_open_is_refused_and_no_log_shows_a_part_of_a_key(
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
    "a query of nothing": ("query", empty_body(), "the content is no Flower message"),
    "a control message of nothing": ("system", empty_body(), "the content is no Flower message"),
    "a control message that asks for what we do not know": ("system", None, "unknown action"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_authentic_request_that_cannot_be_read_is_answered_with_an_error(
    federation: Federation, forge: Forge, kind: str
) -> None:
    """An aggregator of another release may send one; it must not wait out its whole time for that."""
    message_type, body, reason = UNREADABLE[kind]
    name, data = forge.request(body=body, type=message_type)
    federation.storage.plant(name, data)
    error = forge.open_error(name)
    assert error.code == "invalid"
    assert reason in error.text
    assert not federation[OWNER].journal.calls_of(id_of(name))
    federation.assert_served()


def test_a_link_in_place_of_a_request_is_never_followed(
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
def test_a_request_that_is_no_file_holds_nobody_up(federation: Federation, folder: FolderStorage, kind: str) -> None:
    path = folder.path(_name())
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    federation[OWNER].spy.wait_for_scans()
    federation.assert_served()


def test_a_huge_request_is_refused_before_it_is_read(
    federation: Federation, logged: list[str], folder: FolderStorage
) -> None:
    name = _name()
    with folder.path(name).open("wb") as file:
        file.truncate(1 << 40)
    assert_passed_over(federation, logged, name, f"has {1 << 40} bytes")


def test_a_heap_of_files_that_nobody_takes_away_makes_no_data_owner_deaf(
    federation: Federation, folder: FolderStorage
) -> None:
    for _ in range(300):
        folder.path(_name()).write_bytes(b"rubbish")
    federation[OWNER].spy.wait_for_scans(1)
    federation.assert_served()
