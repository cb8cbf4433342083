"""SyftGrid, as far as it needs no data owner."""

from contextlib import closing
from pathlib import Path

from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator import SyftGrid
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.transport.memory import MemoryNetwork


def test_second_close_does_nothing(tmp_path: Path) -> None:
    email = "ds@university.example"
    with closing(MemoryNetwork().transport(email)) as transport:
        settings = load_settings(environ={}, email=email, home=tmp_path)
        grid = SyftGrid("twice", ["do@hospital.example"], Participant(settings, transport, in_process=True))
        with grid:
            grid.set_run(7)
            grid.close()
        grid.close()
