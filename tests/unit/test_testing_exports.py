"""The public names of ``syft_flwr.testing`` stay the same when modules move inside the package."""

import importlib
import subprocess
import sys

import pytest

import syft_flwr.testing
from syft_flwr.clock import Clock

PUBLIC = {
    "gdrive": {
        *("Assumptions", "Call", "Emulator", "Fault", "FileRecord", "Lag", "Latency", "Limits", "Meter"),
        *("PartRecord", "RequestRecord"),
    },
    "syftbox": {"How", "Link", "Outcome", "Participant", "Record", "Settings", "SyftBoxNetwork", "Traffic", "Window"},
}


@pytest.mark.parametrize("name", PUBLIC)
def test_emulator_keeps_its_public_names(name: str) -> None:
    public = importlib.import_module(f"syft_flwr.testing.{name}")
    emulator = importlib.import_module(f"syft_flwr.emulators.{name}")
    assert set(public.__all__) == PUBLIC[name]
    assert {getattr(public, each) for each in public.__all__} == {getattr(emulator, each) for each in emulator.__all__}


@pytest.mark.parametrize("name", PUBLIC)
def test_emulator_starts_under_its_public_name(name: str) -> None:
    command = [sys.executable, "-m", f"syft_flwr.testing.{name}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_fake_clock_is_exported() -> None:
    clock: Clock = syft_flwr.testing.FakeClock()
    assert clock.monotonic() == 0.0
