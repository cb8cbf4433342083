"""The run configuration as the second buffer of a request. The vectors have the hostile ones."""

import os

import pytest

from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.layout import lay_out, split_inline
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire.limits import MAX_CONTROL, MAX_RUN_CONFIG
from syft_flwr.config.user_config import MAX_KEY, MAX_KEYS, MAX_SIZE, UserConfig, checked_user_config
from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.control import Action, control_buffers
from syft_flwr.fl_orchestrator.request_config import PLACE, config_to_buffer, read_config, with_config, without_config
from syft_flwr.names import AppNames
from syft_flwr.transport.memory import MemoryNetwork

_DS, _DO = "ds@x.org", "do@y.org"


def largest(keys: int) -> UserConfig:
    """Return a configuration with this number of keys, and the most bytes."""
    names = [f"{number:03}{'k' * 100}" for number in range(keys)]
    room = MAX_SIZE - sum(map(len, names))
    values = dict.fromkeys(names, "x" * (room // keys))
    values[names[-1]] += "x" * (room % keys)
    return checked_user_config(values, "the test")


def test_order_of_the_keys_does_not_change_the_bytes() -> None:
    assert config_to_buffer({"b": 1, "a": "x"}) == config_to_buffer({"a": "x", "b": 1})


@pytest.mark.parametrize("keys", [1, 16, MAX_KEYS])
def test_largest_configuration_fits_into_a_control_message(keys: int) -> None:
    config = config_to_buffer(largest(keys))
    assert MAX_SIZE < len(config) <= MAX_RUN_CONFIG
    buffers = with_config(control_buffers(Action.START), config)
    body = lay_out(buffers, split_inline(buffers, always=(0, PLACE)), [], [])

    assert len(body.inline) <= MAX_CONTROL
    assert read_config(body) == largest(keys)


def test_number_of_the_longest_keys_is_bounded() -> None:
    longest = {f"{number:03}".ljust(MAX_KEY, "k"): 1.5 for number in range(MAX_SIZE // (MAX_KEY + 8))}

    assert len(config_to_buffer(checked_user_config(longest, "the test"))) <= MAX_RUN_CONFIG


@pytest.mark.parametrize("size", [0, 7, 40_000])
def test_configuration_stays_in_the_envelope(size: int) -> None:
    head = os.urandom(size)
    folder = ObjectFolder(MemoryNetwork().transport(_DS), AppNames("app"), _DS, encryption=True)
    config = config_to_buffer(largest(16))
    buffers = with_config([head, os.urandom(50_000), b"small"], config)

    body, _ = Broadcast(folder).make_body(buffers, run=7, readers=[_DO], holder="a", always_inline=(PLACE,))

    assert body.inline_buffer(PLACE) == config
    assert read_config(body) == largest(16)
    assert not body.manifest.buffers[2].size or body.manifest.buffers[2].pieces
    assert without_config(buffers) == [head, *buffers[2:]]


@pytest.mark.parametrize("number", [0, 1])
def test_request_without_a_configuration_is_refused(number: int) -> None:
    with pytest.raises(MalformedError, match="no run configuration in its envelope"):
        read_config(lay_out([b"message"] * number, [True] * number, [], []))


def test_configuration_in_an_object_is_refused() -> None:
    folder = ObjectFolder(MemoryNetwork().transport(_DS), AppNames("app"), _DS, encryption=True)
    buffers = with_config([b"message", os.urandom(50_000)], config_to_buffer(largest(16)))
    body, _ = Broadcast(folder).make_body(buffers, run=7, readers=[_DO], holder="a")

    with pytest.raises(MalformedError, match="no run configuration in its envelope"):
        read_config(body)
