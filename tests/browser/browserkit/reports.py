"""Reports to look at: of real runs, of a data owner, of many data owners, and with hostile texts."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from synthetic_runs import SyntheticHome, begun, emails, failed_reply, good_reply, serving, training
from tiny_project import Tiny

from syft_flwr import write_report
from syft_flwr._store.states import RunState
from syft_flwr.runs.events import Event, Metrics, RequestSent, RoundStarted, RunEnded

#: Texts of a peer that would run or draw something, if a page showed them unescaped.
HOSTILE = (
    "</script></title></style></svg><script>window.ran=1</script><img src=x onerror=window.ran=1>"
    "<svg onload=window.ran=1>\" autofocus onfocus=window.ran=1 x='\u202egpj.exe &lt;b&gt; javascript:window.ran=1"
)
_PATIENCE = 120.0


def good(folder: Path) -> Path:
    """Write the report of a real run that was completed."""
    return _real(folder, "train")


def failed(folder: Path) -> Path:
    """Write the report of a real run that failed, because the app failed at each data owner."""
    return _real(folder, "broken")


def owner(folder: Path) -> Path:
    """Write the report of a data owner."""
    home = SyntheticHome(folder)
    home.serve(role="datasite")
    home.record(serving(5), "datasite")
    return write_report(home.open("datasite"), folder / "report.html")


def hostile(folder: Path) -> Path:
    """Write the report of a run in which each text of a peer is hostile."""
    home, peer = SyntheticHome(folder), f"{HOSTILE}@x.org"
    home.serve(RunState.FAILED, HOSTILE)
    kind, name = HOSTILE[-60:], HOSTILE[:90]
    events: list[Event] = [begun(**{name: HOSTILE}), RoundStarted(name[:40], 2)]
    events += [RequestSent(f"{each}", f"{each}{peer}", kind, round=name[:40], bytes=9) for each in range(4)]
    events.append(good_reply("0", f"0{peer}", kind, 1, 0))
    events += [failed_reply(f"{each}", f"{each}{peer}", kind, text=HOSTILE * 9) for each in range(1, 4)]
    events.append(Metrics("1", HOSTILE, {name: 0.5, "wide" * 100: 1e300}))
    home.record([*events, RunEnded("failed", HOSTILE)])
    return write_report(home.open(), folder / "report.html")


def large(folder: Path) -> Path:
    """Write the report of a run with 200 data owners and 100 rounds."""
    home = SyntheticHome(folder)
    home.serve(seconds=3_600)
    home.record(training(emails(200), 100))
    return write_report(home.open(), folder / "report.html")


def silent(folder: Path) -> Path:
    """Write the report of a run that waits for a reply, and of which the lock file was deleted."""
    return _waiting(SyntheticHome(folder))


def interrupted(folder: Path) -> Path:
    """Write the report of a run that waited for a reply when it was killed."""
    home = SyntheticHome(folder)
    (home.app_home / "server.lock").touch()
    return _waiting(home)


def stopped(folder: Path) -> Path:
    """Write the report of a run that a person stopped."""
    home = SyntheticHome(folder)
    home.serve(RunState.STOPPED, "stopped by a person")
    home.record([begun(), RoundStarted("1", 3), RunEnded("stopped", "stopped by a person")])
    return write_report(home.open(), folder / "report.html")


#: Functions that write a report into a folder, and return its path: those for each view, and those of other states.
VIEWED: dict[str, Callable[[Path], Path]] = {"good": good, "failed": failed, "owner": owner, "hostile": hostile}
STATES: dict[str, Callable[[Path], Path]] = {"interrupted": interrupted, "silent": silent, "stopped": stopped}
REPORTS = VIEWED | STATES | {"large": large}


def _waiting(home: SyntheticHome) -> Path:
    home.serve(None)
    home.record([begun(), RoundStarted("1", 3), RequestSent("0", "do@x.org", "train", round="1", bytes=9)])
    return write_report(home.open(), home.base / "report.html")


def _real(folder: Path, task: str) -> Path:
    report = folder / "report.html"
    home = {"HOME": str(folder), "TINY_TASK": task, "FLWR_TELEMETRY_ENABLED": "0"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SYFT", "FLWR_", "GDRIVE_"))}
    command = Tiny(folder).command("--report", str(report), "--output-dir", str(folder), "--log-dir", str(folder))
    done = subprocess.run(command, env=kept | home, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    assert report.exists(), done.stdout + done.stderr
    return report
