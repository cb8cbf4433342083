"""What is said once, and what a transport's names are for."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr._messaging import once
from syft_flwr._messaging.names import AppNames, card
from syft_flwr._messaging.once import Once
from syft_flwr.transport.base import is_valid_name

DS, DO = "ds@x.org", "do@y.org"
ID = "0123456789abcdef" * 2
NAMES = AppNames("app")
HEX = st.text("0123456789abcdef", min_size=32, max_size=32)


def test_a_thing_is_said_the_first_time_only() -> None:
    said = Once()

    assert said.first("a")
    assert not said.first("a")
    assert said.first("b")
    assert said.first(ValueError("a reason"))
    assert not said.first("a reason")


def test_a_flood_is_said_up_to_a_limit_and_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "_CAPACITY", 3)
    said = Once()

    assert [said.first(what) for what in "abcdefabcdef"] == [True] * 3 + [False] * 9


def test_threads_say_a_thing_once_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(once, "_CAPACITY", 1_000)
    said = Once()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            first = list(threads.map(lambda number: said.first(number // 8), range(4_000)))
    finally:
        sys.setswitchinterval(interval)

    assert first.count(True) == 500


def test_messages_lie_where_syftbox_rpc_puts_them() -> None:
    assert NAMES.request(DO, DS, ID) == f"{DO}/app_data/flwr/app/rpc/messages/{DS}/{ID}.request"
    assert NAMES.response(DO, DS, ID) == f"{DO}/app_data/flwr/app/rpc/messages/{DS}/{ID}.response"
    assert NAMES.inbox(DO) == f"{DO}/app_data/flwr/app/rpc/"
    assert NAMES.object(DS, ID) == f"{DS}/app_data/flwr/app/objects/ef/{ID}.blob"
    assert card(DS) == f"{DS}/public/syft_flwr.json"


@given(HEX, st.sampled_from([DS, "o'neil@x.org", "a.b+c@x-y.org"]))
def test_every_name_can_be_carried_and_read_back(message_id: str, sender: str) -> None:
    request = NAMES.request(DO, sender, message_id)
    blob = NAMES.object(sender, message_id)

    assert NAMES.parse_request(DO, request) == (sender, message_id)
    assert NAMES.parse_object(sender, blob) == message_id
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
def test_another_file_is_no_request_of_this_place(name: str) -> None:
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
def test_another_file_is_no_object_of_this_place(name: str) -> None:
    assert NAMES.parse_object(DS, name) is None


@given(st.integers(1, (1 << 63) - 1), st.booleans())
def test_an_object_id_says_its_run_and_its_direction(run: int, answer: bool) -> None:
    object_id = NAMES.new_object_id(run, answer=answer)

    assert NAMES.parse_object(DS, NAMES.object(DS, object_id)) == object_id
    assert int(object_id[:16], 16) == run
    assert NAMES.is_answer_object(object_id) is answer
