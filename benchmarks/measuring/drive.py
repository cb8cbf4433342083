"""An emulated Google Drive for the participants of a measurement, and a lower bound for its round time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from measuring.plan import Plan, write_size
from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator.participant import Participant, open_participant
from syft_flwr.simulation.local_drive import LocalDrive
from syft_flwr.testing.gdrive import Latency

#: The file with the emulator's address.
ADDRESS = "drive"
_POLL_INTERVAL = 3.0
#: The necessary calls of a round with a small model, one after the other: each side creates a file, and the other side
#: finds it with one call and downloads it.
_UNAVOIDABLE = ("files.create.media", "files.get", "files.download") * 2


def participant(root: Path, email: str, owners: Sequence[str]) -> Participant:
    """Open one participant of the emulated Drive that :func:`emulated` started.

    Args:
        root: folder of the measurement.
        email: the participant.
        owners: emails of all data owners.
    """
    peers = owners if email not in owners else [(root / "aggregator").read_text(encoding="utf-8")]
    settings = load_settings(
        environ={},
        transport="p2p",
        email=email,
        home=root / "home",
        gdrive_token_path=root / "tokens" / f"{email}.json",
        gdrive_api=(root / ADDRESS).read_text(encoding="utf-8"),
        poll_interval=_POLL_INTERVAL,
    )
    return open_participant(settings, peers=peers)


@contextmanager
def emulated(root: Path, emails: Sequence[str], latency: str) -> Iterator[LocalDrive]:
    """Run an emulator for these accounts; the first one is the aggregator."""
    with LocalDrive(emails, root, root, latency=latency) as service:
        (root / "aggregator").write_text(emails[0], encoding="utf-8")
        (root / ADDRESS).write_text(service.url, encoding="utf-8")
        yield service


def describe(service: LocalDrive, plan: Plan) -> list[str]:
    """Return lines with the use of each account, including start and end, and the lower bound of a small round."""
    lines = [
        f"  {used.email}: {used.calls:,} calls in {used.requests:,} requests, {used.units:,} units, "
        f"up {write_size(used.bytes_up)}, down {write_size(used.bytes_down)}; a round's share: "
        f"up {write_size(used.bytes_up / plan.rounds)}"
        for used in service.usage()
    ]
    calls = sum(Latency.REAL.medians.get(name, Latency.REAL.default) for name in _UNAVOIDABLE)
    return [
        *lines,
        f"  unavoidable calls of a small round: {calls:.2f} s; with one poll: {calls + _POLL_INTERVAL:.2f} s",
    ]
