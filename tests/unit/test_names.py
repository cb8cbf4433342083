"""Names of files: settings, transports and messaging accept the same names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.app_names import normalise_app_name
from syft_flwr.emails import normalise
from syft_flwr.errors import ConfigError
from syft_flwr.names import (
    MAX_ATTEMPTS,
    MAX_NAME_LENGTH,
    AppNames,
    ObjectName,
    card,
    collection,
    in_inbox,
    is_answer_object,
    is_object,
    is_state,
    is_valid_name,
    may_write,
    new_object_id,
    only_writer,
    writer_of,
)

DS, DO = "ds@x.org", "do@y.org"
ID = "0123456789abcdef" * 2
NAMES = AppNames("app")
HEX = st.text("0123456789abcdef", min_size=32, max_size=32)
LONGEST = "a" * 64 + "@" + ".".join(["b" * 63] * 2) + "." + "c" * 61


def test_message_paths_follow_syftbox_rpc() -> None:
    assert NAMES.request(DO, DS, ID) == f"{DO}/app_data/flwr/app/rpc/messages/{DS}/{ID}.request"
    assert NAMES.response(DO, DS, ID) == f"{DO}/app_data/flwr/app/rpc/messages/{DS}/{ID}.response"
    assert NAMES.inbox(DO) == f"{DO}/app_data/flwr/app/rpc/"
    assert NAMES.object(DS, ID) == f"{DS}/app_data/flwr/app/objects/ef/{ID}.blob"
    assert card(DS) == f"{DS}/public/syft_flwr.json"


@given(HEX, st.sampled_from([DS, "o'neil@x.org", "a.b+c@x-y.org"]))
def test_names_are_valid_and_parse_back(message_id: str, sender: str) -> None:
    request = NAMES.request(DO, sender, message_id)
    blob = NAMES.object(sender, message_id)

    assert NAMES.parse_request(DO, request) == (sender, message_id)
    assert NAMES.parse_object(sender, blob) == ObjectName(message_id)
    assert all(is_valid_name(name) for name in (request, blob, NAMES.response(DO, sender, message_id), card(sender)))


@pytest.mark.parametrize(
    "name",
    [
        f"{DO}/app_data/flwr/app/rpc/messages/{DS}/{ID}.response",
        f"{DO}/app_data/flwr/app/rpc/messages/{DS}/{ID}.rejected.request",
        f"{DO}/app_data/flwr/app/rpc/messages/{DS}/{ID.upper()}.request",
        f"{DO}/app_data/flwr/app/rpc/messages/{DS}/{ID[:-1]}.request",
        f"{DO}/app_data/flwr/app/rpc/messages/{DS}/{ID}0.request",
        f"{DO}/app_data/flwr/app/rpc/messages/{DS}/sub/{ID}.request",
        f"{DO}/app_data/flwr/app/rpc/messages/{ID}.request",
        f"{DO}/app_data/flwr/other/rpc/messages/{DS}/{ID}.request",
        f"{DS}/app_data/flwr/app/rpc/messages/{DS}/{ID}.request",
        f"x/{DO}/app_data/flwr/app/rpc/messages/{DS}/{ID}.request",
        "",
    ],
)
def test_other_file_is_not_parsed_as_a_request(name: str) -> None:
    assert NAMES.parse_request(DO, name) is None


@pytest.mark.parametrize(
    "name",
    [
        f"{DS}/app_data/flwr/app/objects/00/{ID}.blob",
        f"{DS}/app_data/flwr/app/objects/{ID}.blob",
        f"{DS}/app_data/flwr/app/objects/ef/{ID}.blob.blob",
        f"{DS}/app_data/flwr/app/objects/ef/{ID.upper()}.blob",
        f"{DO}/app_data/flwr/app/objects/ef/{ID}.blob",
        f"{DS}/app_data/flwr/app/objects/syft.pub.yaml",
    ],
)
def test_other_file_is_not_parsed_as_an_object(name: str) -> None:
    assert NAMES.parse_object(DS, name) is None


@given(st.integers(1, (1 << 63) - 1), st.booleans())
def test_object_id_contains_run_and_direction(run: int, answer: bool) -> None:
    object_id = new_object_id(run, answer=answer)

    assert NAMES.parse_object(DS, NAMES.object(DS, object_id)) == ObjectName(object_id)
    assert int(object_id[:16], 16) == run
    assert is_answer_object(object_id) is answer


APP_NAMES = st.text("abzAZ09_.-", min_size=1, max_size=64) | st.sampled_from(
    ["icon", "model.pyc", "study.conflict", "x.rejected", "logs", "stream.sock", "a.tmp-1", "syftignore"]
)


@pytest.mark.parametrize("pushed", [False, True])
@pytest.mark.parametrize("attempt", range(MAX_ATTEMPTS))
def test_each_file_of_an_object_parses_back(attempt: int, pushed: bool) -> None:
    name = NAMES.object(DS, ID, attempt=attempt, pushed=pushed)

    assert NAMES.parse_object(DS, name) == ObjectName(ID, attempt, pushed)
    assert is_object(name)
    assert not in_inbox(name)
    assert not is_state(name)
    assert is_valid_name(name)
    assert writer_of(name) == DS


def test_pushed_objects_share_one_folder() -> None:
    name = NAMES.object(DS, ID, pushed=True)

    assert name == f"{NAMES.pushed_objects(DS)}{ID}.request"
    assert f"{collection(name)}/" == NAMES.objects(DS)


@pytest.mark.parametrize("leaf", [f"{ID}.8.blob", f"{ID}.0.blob", f"{ID}.01.blob", f"{ID}.1.1.blob", f"{ID}.response"])
def test_other_names_are_no_objects(leaf: str) -> None:
    assert NAMES.parse_object(DS, f"{NAMES.objects(DS)}ef/{leaf}") is None


def test_pushed_state_files_are_told_from_requests() -> None:
    for name in (NAMES.heartbeat(DO), NAMES.aggregator_heartbeat(DO), NAMES.pushed_card(DO), card(DO)):
        assert is_state(name)
        assert not in_inbox(name)
        assert not is_object(name)
        assert is_valid_name(name)
        assert writer_of(name) == DO
    for name in (NAMES.request(DO, DS, ID), NAMES.response(DO, DS, ID)):
        assert in_inbox(name)
        assert not is_state(name)
        assert not is_object(name)


def names_of(app: AppNames, sender: str) -> list[str]:
    """Return one name of each kind in the datasite of a data owner."""
    messages = [app.request(DO, sender, ID), app.response(DO, sender, ID)]
    return [*messages, app.heartbeat(sender), app.object(sender, ID), card(sender)]


@pytest.mark.parametrize("segment", ["api", "API", ".well-known", "_internal", "_Internal"])
def test_name_that_the_server_reserves_is_not_valid(segment: str) -> None:
    assert not is_valid_name(f"{DO}/{segment}/x.blob")
    assert is_valid_name(f"{DO}/{segment.strip('.')}s/x.blob")


@given(APP_NAMES)
def test_accepted_app_name_makes_valid_names(name: str) -> None:
    try:
        app = AppNames(normalise_app_name(name))
    except ConfigError:
        return

    assert all(map(is_valid_name, names_of(app, DS)))


@given(st.emails())
def test_accepted_email_makes_valid_names(email: str) -> None:
    try:
        sender = normalise(email)
    except ConfigError:
        return

    assert all(map(is_valid_name, names_of(NAMES, sender)))


def test_longest_parts_make_a_valid_name() -> None:
    longest = normalise(LONGEST)
    app = AppNames(normalise_app_name("x" * 64))

    assert len(longest) == 254
    assert len(app.request(longest, longest, ID)) <= MAX_NAME_LENGTH
    assert is_valid_name(app.response(longest, longest, ID))


@pytest.mark.parametrize(
    ("name", "writer"),
    [
        (NAMES.request(DO, DS, ID), DS),
        (NAMES.response(DO, DS, ID), DO),
        (NAMES.heartbeat(DO), DO),
        (NAMES.object(DS, ID), DS),
        (card(DO), DO),
        (f"{DO}/app_data/flwr/app/rpc/messages/{DS}/deeper/{ID}.request", DO),
    ],
)
def test_each_name_has_one_writer(name: str, writer: str) -> None:
    assert writer_of(name) == writer
    assert may_write(writer, name)


def test_peer_can_write_only_its_own_messages() -> None:
    assert may_write(DS, NAMES.request(DO, DS, ID))
    assert not may_write("eve@x.org", NAMES.request(DO, DS, ID))
    assert not may_write(DS, NAMES.heartbeat(DO))
    assert not may_write(DS, f"{NAMES.messages_of(DO, DS)}{ID}.blob")


@pytest.mark.parametrize(
    ("prefix", "writer"),
    [
        (NAMES.messages_of(DO, DS), DS),
        (NAMES.messages(DO), None),
        (f"{DS}/public/", DS),
        (NAMES.objects(DO), None),
    ],
)
def test_folder_prefix_identifies_its_only_writer(prefix: str, writer: str | None) -> None:
    assert only_writer(prefix, DO) == writer


def test_collection_is_the_prefix_of_a_kind_of_file() -> None:
    assert f"{collection(NAMES.object(DS, ID))}/" == NAMES.objects(DS)
    assert collection(card(DS)) == f"{DS}/public"
    assert f"{collection(NAMES.request(DO, DS, ID))}/" == NAMES.messages_of(DO, DS)
