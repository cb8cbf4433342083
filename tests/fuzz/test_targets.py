"""Each target of ``make fuzz`` on a small scale: its seeds, mutated seeds, and random bytes."""

import functools
import random

import pytest
from hostile import targets
from hostile.targets import Target
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syft_flwr.errors import SyftFlwrError

deterministic = settings(derandomize=True, max_examples=150)
#: The readers that raise no error of this package: they leave out each line that they cannot read.
WITHOUT_ERRORS = {"record", "syftbox_files", "worker"}
every_target = pytest.mark.parametrize("name", targets.NAMES)


@functools.cache
def load(name: str) -> tuple[Target, list[bytes]]:
    target = targets.load(name)
    return target, list(target.seeds())


def turn_bytes(data: bytes, most: int, generator: random.Random) -> bytes:
    """Return ``data`` with one mutation, as libFuzzer's: flip bits, delete, repeat or overwrite bytes."""
    if not data:
        return generator.randbytes(4)
    start = generator.randrange(len(data))
    end = min(len(data), start + generator.choice((1, 2, 4, 32)))
    kind = generator.randrange(4)
    if kind == 0:
        changed = data[:start] + bytes(byte ^ (1 << generator.randrange(8)) for byte in data[start:end]) + data[end:]
    elif kind == 1:
        changed = data[:start] + data[end:]
    elif kind == 2:
        changed = data[:end] + data[start:]
    else:
        changed = data[:start] + generator.choice((b"\x00", b"\xff", b"\x7f")) * (end - start) + data[end:]
    return changed[:most]


@every_target
def test_invariants_hold_for_fuzzer_seeds(name: str) -> None:
    target, seeds = load(name)
    assert seeds
    for data in seeds:
        target.check_bounded(data)


@every_target
def test_invariants_hold_for_mutated_seeds(name: str) -> None:
    target, seeds = load(name)

    @deterministic
    @given(st.sampled_from(seeds), st.integers(0, 1 << 32), st.integers(1, 3))
    def check(data: bytes, seed: int, times: int) -> None:
        generator = random.Random(seed)
        for _ in range(times):
            inner = functools.partial(turn_bytes, generator=generator)
            most = 2 * len(data) + 1_024
            mutate = target.mutate
            changed = mutate(data, most, generator.getrandbits(32), inner) if mutate else inner(data, most)
            data = changed[:most]
        target.check_bounded(data)

    check()


@every_target
def test_invariants_hold_for_any_bytes(name: str) -> None:
    target, _ = load(name)

    @deterministic
    @given(st.binary(max_size=200))
    @example(b"")
    @example(b"\x00" * 64)
    def check(data: bytes) -> None:
        target.check_bounded(data)

    check()


@pytest.mark.parametrize("name", sorted({*targets.NAMES} - WITHOUT_ERRORS))
def test_check_does_not_hide_a_foreign_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    target, seeds = load(name)

    def escape(*_: object, **__: object) -> None:
        raise KeyError("escaped")

    def check_all() -> None:
        for data in (*seeds, b"", b"\x00" * 64):
            target.check(data)

    monkeypatch.setattr(SyftFlwrError, "__init__", escape)
    with pytest.raises(KeyError):
        check_all()
