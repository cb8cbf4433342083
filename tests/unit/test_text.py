"""Text for logs and terminals."""

import signal

import pytest

from syft_flwr.text import signal_name


@pytest.mark.skipif(not hasattr(signal, "SIGRTMIN"), reason="the system has no real-time signals")
def test_signal_without_a_name_is_shown_by_its_number() -> None:
    assert signal_name(signal.SIGTERM) == "SIGTERM"
    assert signal_name(signal.SIGRTMIN + 3) == str(int(signal.SIGRTMIN) + 3)
