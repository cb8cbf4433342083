"""Write the page ``docs/benchmarks.md`` and its chart."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from measuring import chart, flood, hostile, synced_table
from measuring.comparison import Comparison
from measuring.flood import Start
from measuring.hostile import Refusal
from measuring.plan import write_seconds, write_size
from measuring.result import Result

PICTURE = "benchmarks.svg"

_PAGE = """\
# Benchmarks

<!-- Written by `make bench`; the next run overwrites changes by hand. -->

Each measurement sends a model to every data owner and back, with this package and with Flower's own deployment, on one machine. `make bench` measures and writes this page.
`python benchmarks/round_trip.py --help` shows how to run one measurement alone. The terms in the tables are explained under [Definitions](#definitions).

Measured on {date}.

{machine}

![Chart of the round times and the memory in the tables below]({picture})

## Round time

{times}

## Over SyftBox

Each participant has a SyftBox client of its own. The column *network* says which one: real SyftBox programs on this machine, or this package's emulator of them.
`python benchmarks/syftbox.py --help` shows how to run one measurement alone.

{synced}

## Memory

{memory}

## Written by the server

{written}

## Hostile envelopes

The most expensive contents of an envelope, each of the largest permitted size, as one reader takes it from the file: form, signature, decryption, manifest, arrays and the Flower message.
`python benchmarks/hostile_envelope.py` measures only this. Several data owners can each keep one thread of the aggregator busy for such a time.

{hostile}

## Floods

The start of one participant: it watches its inbox and a data owner's folders, lists them, and reads a key card. A stranger or a data owner wrote 10,000 files, folders or
cards before. Over Google Drive, which is an emulator inside of the measured process, fifty data owners are searched. `python benchmarks/flood.py` measures only this.

{floods}

## Definitions

- **The model** is one array of random 32-bit floats, new in every round.
- **The workload** of a row is one of these:
  - *echo*: the ClientApp returns the model, and the server compares the bytes.
  - *average*: Flower's `FedAvg`; the ClientApp adds one to every weight. The aggregation counts as part of the round.
  - *digest*: the ClientApp returns the SHA-256 of the bytes that it received.
- **A round** is one `send_and_receive` to all data owners. A small round before the first is not counted: it waits until every process has started.
- **syft_flwr** runs as one server process and one folder that all participants see. A sync service is not involved, so the result measures the software and the disk,
  not a network. Every message is sealed and signed. Each data owner is a client and a worker process. If the table says that data owners share processes, {together} of them
  run their clients and apps as threads of one process.
- **Flower's deployment** is `flower-superlink`, one `flower-supernode` for each data owner, and the same apps, over loopback with `--insecure`: it does not encrypt. All
  settings are Flower's defaults. Flower polls every few seconds and starts a process for each message, and the times of short rounds show that.
- **Bytes sent** are those that the aggregator's SyftBox client sent in one round. SyftBox pushes files as base64, which takes a third more.
- **The machine's own limit** is the least time that sealed files can take. The server seals the model (AES-256-GCM) and writes it once to plain files. Every client reads and
  opens it, and does the same with a reply, and the server opens the replies. This runs on all cores, without hashes, signatures or records.
  - *Bare*: files are not forced to disk. The opened bytes go into one small buffer that is used again and again.
  - *Kept*: every file is forced to disk, as a crash-safe message must be. The opened bytes are assembled in fresh memory.
- **Memory** is the kernel's high-water mark of each process (`VmHWM`). The table adds up the processes of a participant that run at the same time. They share
  libraries and need not peak together, so the sum can be too high. The value in brackets is the largest process alone. The server of a Flower deployment is its
  SuperLink, SuperExec and ServerApp.
- **Written by the server** is the value in the server's own [record of the run](runs.md), for the largest round. The column *limit* is the most bytes that the benchmark accepts: 1.01 times the model + 50 KB for each data owner.
- **On storage** is the kernel's count of bytes that the processes caused to be written, including databases and logs: the share of one round in the whole run.
"""


def render(
    comparisons: Sequence[Comparison],
    synced: Sequence[Result],
    refusals: Sequence[Refusal],
    floods: Sequence[Start],
    machine: dict[str, str],
) -> str:
    """Return the page.

    Args:
        comparisons: the measurements in one shared folder.
        synced: the measurements over a SyftBox network.
        refusals: the measurements of hostile envelopes.
        floods: the starts with and without a flood.
        machine: facts about the machine, by name.
    """
    return _PAGE.format(
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
        machine="\n".join(f"- {name}: {value}" for name, value in machine.items()),
        picture=PICTURE,
        times=_table(_TIMES, comparisons),
        synced=synced_table.render(synced),
        memory=_table(_MEMORY, comparisons),
        written=_table(_WRITTEN, comparisons),
        hostile=hostile.render(refusals),
        floods=flood.render(floods),
        together=max((comparison.plan.per_process for comparison in comparisons), default=1),
    )


def draw(comparisons: Sequence[Comparison]) -> str:
    """Return the chart as SVG: round times by size and by number of data owners, and memory by size."""
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
    "correct replies": lambda found: f"{found.ours.good} of {found.ours.expected}",
}
_MEMORY = _PLAN | {
    "syft_flwr: server": lambda found: _memory(found, "ours", "server"),
    "syft_flwr: a data owner": _shared_note,
    "Flower's deployment: server": lambda found: _memory(found, "flower", "server"),
    "Flower's deployment: a data owner": lambda found: _memory(found, "flower", "client"),
}
_WRITTEN = _PLAN | {
    "bytes in a round": lambda found: f"{max(found.ours.written):,}",
    "limit": lambda found: f"{found.ours.written_limit:,}",
    "on storage": lambda found: f"{found.ours.stored:,}",
    "files left behind": lambda found: str(sum((found.ours.left or {}).values())),
}
