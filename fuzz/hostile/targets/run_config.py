"""Fuzz ``request_config.read_config`` with the run configurations in requests of an authentic aggregator."""

from collections.abc import Iterator

from flwr.app import ConfigRecord, RecordDict
from loguru import logger
from pydantic import TypeAdapter

from hostile import frames
from hostile.invariants import Guarded
from hostile.mutation import Mutate, mutate_frames
from hostile.people import ANNA_EMAIL, load
from syft_flwr._messaging.layout import lay_out
from syft_flwr._messaging.wire.limits import MAX_RUN_CONFIG
from syft_flwr.config.user_config import MAX_KEY, MAX_KEYS, MAX_SIZE, UserConfig
from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.app_runner import FramedConfig
from syft_flwr.fl_orchestrator.owner_config import OwnerConfig
from syft_flwr.fl_orchestrator.request_config import config_to_buffer, read_config
from syft_flwr.flower import ProtoRecordDict, recorddict_to_proto
from syft_flwr.text import is_visible

_MESSAGE = b"message"
#: Loguru asks Python for the paths of its installation.
STEPS = 600_000
_FRAMED = TypeAdapter[UserConfig](FramedConfig)
#: Twenty keys, each with two values that are cut.
_LONGEST_LINE = 8_000
_IN_PLACE, _MISSING, _TWICE = range(3)
_OWN: UserConfig = {"lr": 0.5, "epochs": 3, "name": "own net", "nan": float("nan")}


def seeds() -> Iterator[bytes]:
    for vector in load("run_configs")["vectors"]:
        yield frames.join([bytes([_IN_PLACE]), bytes.fromhex(vector["buffer"])])
    odd: UserConfig = {"lr": float("nan"), "epochs": True, "name": "\x1b[31m\u2028\nred", "nan": float("nan")}
    for mode in (_IN_PLACE, _MISSING, _TWICE):
        yield frames.join([bytes([mode]), config_to_buffer(odd)])
    others = ConfigRecord({"list": ["a", "b"], "bytes": b"\x93NUMPY", "lists": [1.5, 2.5]})
    yield frames.join([bytes([_IN_PLACE]), recorddict_to_proto(RecordDict({"run-config": others})).SerializeToString()])


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    return mutate_frames(data, max_size, seed, inner, ProtoRecordDict)


def check(data: bytes) -> None:
    """Check that an accepted configuration is small and plain, and that the owner's log and its worker can take it."""
    mode, buffer = frames.split(data, 2)[:2]
    configs = {_MISSING: [], _TWICE: [buffer, buffer]}.get(mode[0] if mode else _IN_PLACE, [buffer])
    buffers = [_MESSAGE, *configs]
    config = Guarded(expected=MalformedError)(read_config, lay_out(buffers, [True] * len(buffers), [], []))
    if config is None:
        return
    assert configs, "a request without a configuration was accepted"
    _require_plain(config)
    again = read_config(lay_out([_MESSAGE, config_to_buffer(config)], [True, True], [], []))
    framed = _FRAMED.validate_json(_FRAMED.dump_json(config))
    # Not the values themselves, because NaN is not equal to itself.
    assert _shown(again) == _shown(framed) == _shown(config)
    _require_readable_log(config)


def _require_plain(config: UserConfig) -> None:
    assert len(config) <= MAX_KEYS
    assert len(config_to_buffer(config)) <= MAX_RUN_CONFIG
    size = 0
    for key, value in config.items():
        size += len(key.encode()) + (len(value.encode()) if isinstance(value, str) else 8)
        assert 0 < len(key) <= MAX_KEY
        assert is_visible(key)
        assert type(value) in (bool, int, float, str)
        assert not isinstance(value, int) or -(1 << 63) <= value < 1 << 63
    assert size <= MAX_SIZE


def _require_readable_log(config: UserConfig) -> None:
    """Raise AssertionError if the log of the data owner would show a forged or very long line."""
    for policy in ("sent", "own"):
        owner = OwnerConfig(_OWN, policy, {"lr": 0.1})
        assert set(owner.kept_keys(config)) <= config.keys()
        assert owner.seen_by_app(config)["lr"] == 0.1
        lines: list[str] = []
        sink = logger.add(lambda line, lines=lines: lines.append(str(line)), format="{message}")
        try:
            owner.note_request(1, ANNA_EMAIL, config)
        finally:
            logger.remove(sink)
        for line in lines:
            assert is_visible(line.removesuffix("\n"))
            assert len(line) <= _LONGEST_LINE


def _shown(config: UserConfig) -> list[tuple[str, str]]:
    return sorted((key, repr(value)) for key, value in config.items())
