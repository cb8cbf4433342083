"""A search for several owners gives each of them a budget, and needs few calls more for each one that floods it."""

from collections.abc import Collection, Iterator, Mapping

import pytest

from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.shared_search import SharedSearch

ME = "me@x.org"
OWNERS = [f"do{number}@x.org" for number in range(120)]


class Drive:
    """The hits of each owner, in an order that hides those after a flood, and the pages that were read."""

    def __init__(self, hits: Mapping[str, int]) -> None:
        self._hits = hits
        self.pages: list[int] = []

    def search(self, query: str, *, max_files: int) -> Iterator[DriveFile]:
        asked = query.split()
        flooded = sorted(self._hits, key=lambda owner: -self._hits[owner])
        files = (file(owner, number) for owner in flooded for number in range(self._hits[owner]) if owner in asked)
        self.pages.append(0)
        for number, found in enumerate(files):
            if number >= max_files:
                return
            self.pages[-1] = 1 + number // 1_000
            yield found


def file(owner: str, number: int) -> DriveFile:
    return DriveFile(f"{owner}-{number}", "n", owner, 1, "", False, {}, (), "2030", 1)


def run(drive: Drive, owners: Collection[str], *, share: int = 64, most: int = 1_000) -> tuple[SharedSearch, list[str]]:
    search = SharedSearch(drive, ME, share=share, most=most)  # type: ignore[arg-type]
    return search, _owners_found(search, owners)


def _owners_found(search: SharedSearch, owners: Collection[str]) -> list[str]:
    return [found.owner for found in search.run(owners, " ".join, lambda found: found.owner)]


def test_honest_owners_share_one_call_for_fifty() -> None:
    drive = Drive(dict.fromkeys(OWNERS, 3))
    _, found = run(drive, OWNERS)
    assert sorted(found) == sorted(OWNERS * 3)
    assert len(drive.pages) == 3


@pytest.mark.parametrize("flooding", [1, 3, 50])
def test_flood_of_some_owners_hides_no_other(flooding: int, logged: list[str]) -> None:
    """All owners are in one group of fifty."""
    owners = OWNERS[:50]
    drive = Drive(dict.fromkeys(owners, 3) | dict.fromkeys(owners[:flooding], 10_001))
    search, found = run(drive, owners)
    assert all(found.count(owner) == 3 for owner in owners[flooding:])
    assert all(found.count(owner) == 1_000 for owner in owners[:flooding])
    assert len(drive.pages) <= 1 + 2 * flooding
    # A page has a thousand hits, so a flood ends the shared search in its first page.
    assert sum(drive.pages) <= 1 + 3 * flooding
    assert len([line for line in logged if "has more than 1000" in line]) == flooding

    drive.pages.clear()
    assert sorted(_owners_found(search, owners)) == sorted(found)
    assert len(drive.pages) == flooding + (flooding < 50)
    assert len([line for line in logged if "has more than" in line]) == flooding


def test_ignored_hits_do_not_make_an_owner_crowded() -> None:
    drive = Drive({OWNERS[1]: 2_000, OWNERS[0]: 3})
    search = SharedSearch(drive, ME, share=64, most=1_000)  # type: ignore[arg-type]
    found = search.run(OWNERS[:50], " ".join, lambda hit: None if hit.owner == OWNERS[1] else hit.owner)
    assert [hit.owner for hit in found] == [OWNERS[0]] * 3
    assert (drive.pages, search.crowded) == ([3], set())


def test_all_files_of_this_participant_are_found() -> None:
    _, found = run(Drive({ME: 5_000, OWNERS[0]: 3}), [ME, OWNERS[0]])
    assert found.count(ME) == 5_000
    assert found.count(OWNERS[0]) == 3
