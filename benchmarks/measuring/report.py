"""The page of results: ``docs/benchmarks.md``, and the picture that it shows."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from measuring import chart
from measuring.comparison import Comparison
from measuring.plan import write_seconds, write_size

PICTURE = "benchmarks.svg"

_PAGE = """\
# Benchmarks

<!-- Written by `make bench`; what is changed here by hand is lost at the next run. -->

A model to every data owner and back, over this package and over Flower's own deployment, on one machine. `make bench` measures it and writes this page.
One measurement alone, with options: `python benchmarks/round_trip.py --help`.

Measured on {date}.

{machine}

![Round times and memory, the figures of the tables below]({picture})

## Round time

{times}

## Memory

{memory}

## Written by the server

{written}

## What is measured

- **The model** is one array of random 32-bit floats, new in every round. *echo*: the ClientApp returns it, and the server compares the bytes. *average*: Flower's
  `FedAvg`, whose ClientApp adds one to every weight; its aggregation counts as part of the round. *digest*: the ClientApp returns the SHA-256 of what it got.
- **A round** is one `send_and_receive` to all data owners. A small round before the first is not counted: it waits until every process has started.
- **syft_flwr**: one server process and one folder that all participants see; there is no sync service in between, so this is the software and the disk, not a network.
  Every message is sealed and signed. Each data owner is a client and a worker process; where the table says that data owners share processes, {together} of them run
  their clients and apps as threads of one process.
- **Flower's deployment**: `flower-superlink`, one `flower-supernode` for each data owner, and the same apps, over loopback with `--insecure`: nothing is encrypted. All
  settings are Flower's defaults. It asks for news every few seconds and starts a process for each message, and short rounds measure that.
- **The machine's own limit**: the least that sealed files can take. The server seals the model (AES-256-GCM) and writes it once to plain files, every client reads and
  opens it and does the same with a reply, and the server opens the replies; on all cores, without hashes, signatures or records. *Bare*: files are not forced to disk,
  and what is opened goes into one small buffer again and again. *Kept*: every file is forced to disk, as a crash-safe message must be, and what is opened is put
  together in fresh memory.
- **Memory** is the kernel's high-water mark of each process (`VmHWM`). A participant's processes that live at the same time are added up, although they share libraries
  and need not peak together; the largest process alone is in brackets. The server of a Flower deployment is its SuperLink, SuperExec and ServerApp.
- **Written by the server** is what it says of itself in its run log, the largest round; the limit to stay under is 1.01 times the model + 50 KB for each data owner. Storage
  is what the kernel says that the processes caused to be written, databases and logs included, each round's share of the whole run.
"""


def render(comparisons: Sequence[Comparison], machine: dict[str, str]) -> str:
    """Return the page."""
    return _PAGE.format(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine="\n".join(f"- {name}: {value}" for name, value in machine.items()),
        picture=PICTURE,
        times=_table(_TIMES, comparisons),
        memory=_table(_MEMORY, comparisons),
        written=_table(_WRITTEN, comparisons),
        together=max(comparison.plan.per_process for comparison in comparisons),
    )


def draw(comparisons: Sequence[Comparison]) -> str:
    """Return the picture: round times by size and by data owners, and memory by size."""
    echoes = [comparison for comparison in comparisons if comparison.plan.workload == "echo"]
    by_size = [comparison for comparison in echoes if comparison.plan.datasites == 2]
    smallest = min((comparison.plan.size for comparison in echoes), default=0)
    by_owners = [comparison for comparison in echoes if comparison.plan.size == smallest]
    sizes = [write_size(comparison.plan.size) for comparison in by_size]
    owners = [f"{comparison.plan.datasites} data owners" for comparison in by_owners]
    seconds, owners_too = _series(_median, by_size, limit=True), _series(_median, by_owners)
    return chart.draw(
        [
            chart.Panel("Median round time, 2 data owners", sizes, seconds, write_seconds, powers=True),
            chart.Panel(f"Median round time, {write_size(smallest)}", owners, owners_too, write_seconds, powers=True),
            chart.Panel("Server's peak memory, 2 data owners", sizes, _series(_server_memory, by_size), write_size),
        ]
    )


def _median(comparison: Comparison, system: str) -> float | None:
    found = {
        "ours": comparison.ours.times,
        "flower": comparison.flower.times if comparison.flower else None,
        "bare": comparison.limit.bare if comparison.limit else None,
        "kept": comparison.limit.kept if comparison.limit else None,
    }[system]
    return found.median if found else None


def _server_memory(comparison: Comparison, system: str) -> float | None:
    result = comparison.ours if system == "ours" else comparison.flower
    return result.server.memory if result else None


_Value = Callable[[Comparison, str], float | None]


def _series(
    value: _Value, comparisons: Sequence[Comparison], *, limit: bool = False
) -> list[tuple[str, list[float | None]]]:
    systems = {"ours": "syft_flwr, encrypted", "flower": "Flower's deployment, not encrypted"}
    systems |= {"bare": "the machine's own limit, bare", "kept": "kept"} if limit else {}
    return [(name, [value(comparison, system) for comparison in comparisons]) for system, name in systems.items()]


_Column = Callable[[Comparison], str]


def _table(columns: dict[str, _Column], comparisons: Iterable[Comparison]) -> str:
    rows = [list(columns), ["---"] * len(columns)]
    rows += [[write(comparison) for write in columns.values()] for comparison in comparisons]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _owners(comparison: Comparison) -> str:
    plan = comparison.plan
    return f"{plan.datasites}, sharing processes" if plan.per_process > 1 else str(plan.datasites)


def _spread(comparison: Comparison, system: str) -> str:
    times = comparison.ours.times if system == "ours" else comparison.flower and comparison.flower.times
    if not times:
        return "no result" if comparison.flower_failed else ""
    low, middle, high = (write_seconds(value) for value in (min(times.seconds), times.median, max(times.seconds)))
    return f"{low} · **{middle}** · {high} ({len(times.seconds)})"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _memory(comparison: Comparison, system: str, role: str) -> str:
    result = comparison.ours if system == "ours" else comparison.flower
    if result is None:
        return "no result" if comparison.flower_failed else ""
    usage = result.server if role == "server" else result.client
    text = _megabytes(usage.memory)
    return text if len(usage.largest) < 2 else f"{text} ({_megabytes(max(usage.largest.values()))})"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _shared_note(comparison: Comparison) -> str:
    together = comparison.plan.per_process
    return _memory(comparison, "ours", "client") + (f" for {together} of them" if together > 1 else "")


_PLAN: dict[str, _Column] = {
    "model": lambda found: write_size(found.plan.size),
    "data owners": _owners,
    "workload": lambda found: found.plan.workload,
}
_TIMES = _PLAN | {
    "syft_flwr: min · median · max (rounds)": lambda found: _spread(found, "ours"),
    "Flower's deployment": lambda found: _spread(found, "flower"),
    "Flower / syft_flwr": lambda found: _ratio(found.times_flower),
    "limit, bare": lambda found: write_seconds(found.limit.bare.median) if found.limit else "",
    "limit, kept": lambda found: write_seconds(found.limit.kept.median) if found.limit else "",
    "syft_flwr / bare": lambda found: _ratio(found.times_bare),
    "syft_flwr / kept": lambda found: _ratio(found.times_kept),
    "right replies": lambda found: f"{found.ours.good} of {found.ours.expected}",
}
_MEMORY = _PLAN | {
    "syft_flwr: server": lambda found: _memory(found, "ours", "server"),
    "syft_flwr: a data owner": _shared_note,
    "Flower's deployment: server": lambda found: _memory(found, "flower", "server"),
    "Flower's deployment: a data owner": lambda found: _memory(found, "flower", "client"),
}
_WRITTEN = _PLAN | {
    "bytes in a round": lambda found: f"{max(found.ours.written):,}",
    "to stay under": lambda found: f"{found.ours.written_limit:,}",
    "on storage": lambda found: f"{found.ours.stored:,}",
    "files left behind": lambda found: str(sum((found.ours.left or {}).values())),
}
