"""Shows that an outsider who writes a thousand files into the folders cannot disturb a training.

The folders are real. The files are forged, in plain text, of another version, expired, cut, renamed or huge. Others are
copies of true files: under other ids, for other data owners and apps, or from an earlier run.

The participants ignore the files and continue. All files together need little memory. Each client that reads a file logs
it once, with the reason.
"""

import contextlib
import gc
import itertools
import secrets
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from faultkit.federation import AGGREGATOR, NAMES, OUTSIDER, OWNERS, Federation, answer_of
from faultkit.forge import Forge, long_ago
from faultkit.storage import FolderStorage
from test_hostile_requests import FORGERIES, Made, changed
from waiting import eventually

from syft_flwr._messaging.wire.limits import MAX_ENVELOPE
from syft_flwr.names import AppNames, in_inbox, is_object

OWNER, OTHER = OWNERS
FILES = 1_000
#: Bytes by which the process may grow: for the logged names, and for memory that allocators keep.
GROWTH = 5 << 20
_HUGE = 1 << 40


@dataclass(frozen=True)
class Heard:
    """A true request and its true reply. Each reader of the folders can copy them."""

    id: str
    request: bytes
    response: bytes


def overhear(federation: Federation, number: int) -> dict[str, list[Heard]]:
    """Send ``number`` messages to each data owner. Return the requests and replies by data owner."""
    heard = {email: list[Heard]() for email in OWNERS}
    for email in OWNERS:
        for message_id in federation.push("answer", *[email] * number):
            heard[email].append(_overhear_one(federation, email, message_id))
    return heard


def _overhear_one(federation: Federation, email: str, message_id: str) -> Heard:
    storage, response = federation.storage, federation.response_name(email, message_id)
    answer = eventually(lambda: storage.read(response), "a reply")
    heard = Heard(message_id, storage.read(federation.request_name(email, message_id)), answer)
    federation.pull([message_id])
    # Only a copy that appears after the deletion of the true request counts as a replay.
    eventually(lambda: not storage.read(response), "the deletion of a reply")
    return heard


@dataclass(frozen=True)
class Thrown:
    """One file, with the reason that the log must give. The reason is empty for a file that no client reads."""

    name: str
    data: bytes
    reason: str


#: Returns the name and the content of a file for the folder of one data owner.
Make = Callable[[str], tuple[str, bytes]]


class Outsider:
    """Makes the files of the outsider: first copies of true files under their true names, then all kinds in turn."""

    def __init__(self, federation: Federation, before: dict[str, list[Heard]], now: dict[str, list[Heard]]) -> None:
        assert federation.grid
        self._federation = federation
        self._forges = {email: Forge(federation, email, federation.grid.run.run_id) for email in OWNERS}
        self._before = before
        self._now = now

    def files(self) -> Iterator[Thrown]:
        """Yield one file after the other, without end."""
        for owner, other in (OWNERS, OWNERS[::-1]):
            yield from self._true_names(owner, other)
        given = set[str]()
        for owner in itertools.cycle(OWNERS):
            for make, reason in [*self._forged(), *self._moved(), *self._unread()]:
                name, data = make(owner)
                # One kind always has the same name, so it is used only once.
                if name not in given:
                    given.add(name)
                    yield Thrown(name, data, reason)

    def heard(self, owner: str) -> list[Heard]:
        """Return the true messages of a data owner, of both runs."""
        return [*self._before[owner], *self._now[owner]]

    def _true_names(self, owner: str, other: str) -> Iterator[Thrown]:
        for heard in (*self._before[owner], *self._now[owner]):
            # Over SyftBox, a closed request can come back without an attack, so there is no line about it.
            yield Thrown(NAMES.request(owner, AGGREGATOR, heard.id), heard.request, "")
        for heard in (*self._before[other], *self._now[other]):
            yield Thrown(NAMES.request(owner, AGGREGATOR, heard.id), heard.request, "its recipient is not")
            yield Thrown(NAMES.response(owner, AGGREGATOR, heard.id), heard.response, "")

    def _forged(self) -> list[tuple[Make, str]]:
        """Return the makers of forged files, and of files that are true except for one fault."""
        forges = self._forges

        def made(make: Made) -> Make:
            # These functions make files for OWNER only.
            return lambda owner: make(forges[OWNER])

        def cut(owner: str) -> tuple[str, bytes]:
            name, data = forges[owner].request()
            return name, data[: len(data) // 2]

        return [
            *[(made(make), reason) for make, reason in FORGERIES.values()],
            (lambda owner: forges[owner].request(signer=forges[owner].outsider_keys), "the signature does not match"),
            (
                lambda owner: forges[owner].request(signer=forges[owner].outsider_keys, sealed=False),
                "the signature does not match",
            ),
            (lambda owner: forges[owner].request(**long_ago(self._federation)), "it expired at"),
            (lambda owner: changed(forges[owner], _of_version_zero), "this release reads version 3"),
            (cut, "is read again at the next scan"),
            (lambda owner: (_somewhere(owner), b""), f"at most {MAX_ENVELOPE} are accepted"),
        ]

    def _moved(self) -> list[tuple[Make, str]]:
        """Return the makers of true files under a wrong name."""
        before, now = self._before, self._now

        def misnamed(owner: str) -> tuple[str, bytes]:
            return NAMES.request(owner, AGGREGATOR, str(uuid.uuid4())), now[owner][0].request

        return [
            (lambda owner: (_somewhere(owner), now[owner][0].request), "its id is not"),
            (lambda owner: (_somewhere(owner), before[owner][0].request), "its id is not"),
            (lambda owner: (_somewhere(owner), now[_other(owner)][0].request), "its id is not"),
            (lambda owner: (_somewhere(owner), now[owner][0].response), "its kind is not"),
            (lambda owner: (_somewhere(owner, OUTSIDER), now[owner][0].request), f"{OUTSIDER} is not the aggregator"),
            (misnamed, "its name does not have the form of a request"),
        ]

    def _unread(self) -> list[tuple[Make, str]]:
        """Return the makers of files in places that no participant reads."""
        now = self._now

        def to_another_app(owner: str) -> tuple[str, bytes]:
            return AppNames("another").request(owner, AGGREGATOR, secrets.token_hex(16)), now[owner][0].request

        def answer(owner: str) -> tuple[str, bytes]:
            return NAMES.response(owner, AGGREGATOR, secrets.token_hex(16)), now[_other(owner)][0].response

        return [
            (to_another_app, ""),
            (answer, ""),
            (lambda owner: (NAMES.object(owner, secrets.token_hex(16)), now[owner][0].request), ""),
            (lambda owner: (NAMES.object(AGGREGATOR, secrets.token_hex(16)), now[owner][0].request), ""),
        ]


def _of_version_zero(data: bytes) -> bytes:
    return data[:8] + b"\x00" + data[9:]


def _somewhere(owner: str, sender: str = AGGREGATOR) -> str:
    return NAMES.request(owner, sender, secrets.token_hex(16))


def _other(owner: str) -> str:
    return OTHER if owner == OWNER else OWNER


def throw(storage: FolderStorage, files: Sequence[Thrown]) -> None:
    """Write the files to the storage. A file without data becomes a sparse file of a terabyte."""
    for file in files:
        if file.data:
            storage.plant(file.name, file.data)
        else:
            storage.path(file.name).parent.mkdir(parents=True, exist_ok=True)
            with storage.path(file.name).open("wb") as sparse:
                sparse.truncate(_HUGE)


def expect_lines(files: Sequence[Thrown], logged: Sequence[str], times: int) -> None:
    """Wait until each file with a reason was logged ``times`` times. Check each line, and that no other follows."""
    reasons = {file.name: file.reason for file in files}
    assert len(reasons) == len(files)
    expected = {name: times if reason else 0 for name, reason in reasons.items()}

    def lines() -> dict[str, list[str]]:
        found = {name: list[str]() for name in reasons}
        for line in list(logged):
            for name in set(line.split()) & reasons.keys():
                found[name].append(line)
        return found

    with contextlib.suppress(AssertionError):
        eventually(lambda: all(len(found) >= expected[name] for name, found in lines().items()), "a line about each")
    found = lines()
    assert [(name, reasons[name], here) for name, here in found.items() if len(here) != expected[name]] == []
    for name, here in found.items():
        assert all(line.startswith("WARNING") and reasons[name] in line for line in here), here


@pytest.fixture
def federation(tmp_path: Path, folder: FolderStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", folder) as federation:
        yield federation


def restart(federation: Federation) -> None:
    """Interrupt the client of a data owner during a message, and start another client, which answers it."""
    (interrupted,) = federation.push("interrupt_the_first_time", OWNER)
    with pytest.raises(KeyboardInterrupt):
        federation[OWNER].join()
    federation[OWNER].start()
    assert answer_of(federation.pull([interrupted])[0])


def test_thousand_outsider_files_are_harmless(federation: Federation, folder: FolderStorage, logged: list[str]) -> None:
    federation.start()
    before = overhear(federation, 3)
    federation.stop()
    federation.start()
    outsider = Outsider(federation, before, overhear(federation, 3))
    files = list(itertools.islice(outsider.files(), FILES))
    calls = {email: len(federation[email].journal.calls) for email in OWNERS}
    process = psutil.Process()
    gc.collect()
    size = process.memory_info().rss

    thrower = threading.Thread(target=throw, args=(folder, files))
    thrower.start()
    rounds = 0
    while thrower.is_alive() or rounds < 5:
        federation.assert_served()
        rounds += 1
    thrower.join()
    expect_lines(files, logged, 1)
    for owner in federation.owners.values():
        owner.spy.wait_for_scans(2)
    federation.assert_served()
    expect_lines(files, logged, 1)

    gc.collect()
    assert process.memory_info().rss - size < GROWTH
    for email in OWNERS:
        assert len(federation[email].journal.calls) == calls[email] + rounds + 1
    assert [line for line in logged if line.startswith(("ERROR", "CRITICAL"))] == []

    restart(federation)
    federation.assert_served()
    federation[OWNER].spy.wait_for_scans(2)
    found_again = [file for file in files if file.name.startswith(NAMES.messages(OWNER))]
    expect_lines(found_again, logged, 2)
    expect_lines([file for file in files if file not in found_again], logged, 1)
    assert len(federation[OWNER].journal.calls) == calls[OWNER] + rounds + 4

    federation.stop()
    planted = {file.name: file.data for file in files}
    there = {name for name in folder.names() if in_inbox(name) or is_object(name)}
    # The participants deleted all their own files. Of the outsider's files they deleted only some that look like own files.
    assert there <= planted.keys()
    replayed = {NAMES.request(owner, AGGREGATOR, heard.id) for owner in OWNERS for heard in outsider.heard(owner)}
    deleted = planted.keys() - there - replayed
    assert all(name.endswith((".blob", ".response")) for name in deleted)
    assert [name for name in there if planted[name] and folder.read(name) != planted[name]] == []
