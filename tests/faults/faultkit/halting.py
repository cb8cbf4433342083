"""Halts an aggregator like a killed process: its threads end, and it neither says nor deletes anything more."""

from typing import Any

from syft_flwr._messaging.asking.caller import Caller


def halt(caller: Caller[Any]) -> None:
    """End the threads of a caller without a last heartbeat."""
    caller._scanner.stop()
    heartbeat = caller._heartbeat
    heartbeat._stopping.set()
    heartbeat._changed.set()
    if heartbeat._thread.is_alive():
        heartbeat._thread.join()
