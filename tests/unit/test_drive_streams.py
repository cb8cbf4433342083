"""Streams of files in Drive: the announcement of a folder, and a reader that must find every stored file."""

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.announcement import (
    ANNOUNCED,
    FILE,
    MARK,
    Announcement,
    audience_digest,
    quote,
    read_positions,
)
from syft_flwr.transport._gdrive.streams.incoming import IncomingStream
from syft_flwr.transport._gdrive.streams.outgoing import OutgoingStream, Place

OWNER = "do@y.org"
DIGEST = audience_digest({"ds@x.org"})
IDS = st.lists(st.text("abcXYZ019_-", min_size=10, max_size=64), max_size=200, unique=True)


def folder(announcement: Announcement) -> DriveFile:
    properties = {key: value for key, value in announcement.encode().items() if value is not None}
    return DriveFile("folder0000", "f", OWNER, 0, "", True, properties, (), "2030", 1)


def file_at(place: Place, *, low: int | None = None) -> DriveFile:
    said = {MARK: FILE, "n": str(place.position), "low": str(place.low if low is None else low)}
    return DriveFile(place.id, f"{OWNER}/file{place.position}", OWNER, 1, "00", False, said, ("folder0000",), "2030", 1)


# Announcements


def test_announced_ids_fit_into_properties() -> None:
    ids = tuple(f"{number:033}" for number in range(ANNOUNCED))

    announcement = Announcement(DIGEST, 5, 7, ids)

    assert announcement.fits() == ANNOUNCED
    properties = {key: value for key, value in announcement.encode().items() if value is not None}
    assert len(properties) <= 30
    assert all(len((key + value).encode()) <= 124 for key, value in properties.items())
    assert Announcement.decode(properties) == announcement


@given(IDS, st.integers(0, 10**15 - 1), st.integers(0, 10**15 - 1))
def test_ids_of_any_length_stay_within_limits(ids: list[str], base: int, following: int) -> None:
    wanted = Announcement(DIGEST, base, following, tuple(ids))
    announcement = replace(wanted, ids=wanted.ids[: wanted.fits()])

    properties = {key: value for key, value in announcement.encode().items() if value is not None}

    assert all(len((key + value).encode()) <= 124 for key, value in properties.items())
    assert Announcement.decode(properties) == announcement


def test_shorter_announcement_clears_old_ids() -> None:
    said: dict[str, str | None] = {}
    for ids in (tuple(f"{number:033}" for number in range(ANNOUNCED)), ("a" * 33,), ()):
        said.update(Announcement(DIGEST, 0, 0, ids).encode())
        assert Announcement.decode({key: value for key, value in said.items() if value is not None}).ids == ids


@pytest.mark.parametrize(
    "change",
    [
        {MARK: "stream 2"},
        {MARK: ""},
        {"base": "-1"},
        {"base": "01"},
        {"base": "1e3"},
        {"base": "٣"},
        {"next": "9" * 16},
        {"next": ""},
        {"ids00": "short"},
        {"ids00": "a" * 33 + ","},
        {"ids00": "../../../../etc"},
        {"ids00": "x' or 'me' in owners"},
    ],
)
def test_invalid_announcement_is_refused(change: dict[str, str]) -> None:
    good = {key: value for key, value in Announcement(DIGEST, 0, 0, ("a" * 33,)).encode().items() if value is not None}
    assert Announcement.decode(good)

    with pytest.raises(TransportError):
        Announcement.decode(good | change)


@given(st.dictionaries(st.sampled_from(["base", "next", "readers", MARK, "ids00", "ids25"]), st.text(max_size=30)))
def test_random_properties_decode_or_are_refused(properties: dict[str, str]) -> None:
    try:
        announcement = Announcement.decode(properties)
    except TransportError:
        return
    assert announcement.base >= 0
    assert read_positions(properties, "next") == [announcement.next]


def test_audience_digest_depends_on_readers_not_order() -> None:
    assert audience_digest(["a@x.org", "b@x.org"]) == audience_digest({"b@x.org", "a@x.org"})
    assert audience_digest({"a@x.org"}) != audience_digest({"a@x.org", "b@x.org"})
    assert audience_digest(set()) != audience_digest({"a@x.org"})
    assert audience_digest({"a@x.org", "b@x.org"}) != audience_digest({"a@x.orgb@x.org"})


@given(st.text(max_size=50))
def test_quoted_string_cannot_end_early(text: str) -> None:
    quoted = quote(text)

    plain, escaped = "", False
    for character in quoted:
        if escaped or character not in "\\'":
            plain, escaped = plain + character, False
        else:
            assert character == "\\", "a quote that ends the string"
            escaped = True
    assert plain == text
    assert not escaped


# Writer and reader of a stream


@dataclass
class World:
    """A writer, its folder, and the files in the folder."""

    outgoing: OutgoingStream
    said: Announcement
    there: dict[str, DriveFile] = field(default_factory=dict)
    made: int = 0

    @classmethod
    def begin(cls) -> "World":
        said = Announcement(DIGEST, 0, 0, tuple(f"id{number:08}" for number in range(5)))
        return cls(OutgoingStream("folder0000", said, 0), said, made=5)

    def new_ids(self, count: int) -> list[str]:
        # Fewer ids than asked for, so that the writer often renews its announcement.
        first, self.made = self.made, self.made + 5
        return [f"id{number:08}" for number in range(first, first + 5)]

    def publish(self, announcement: Announcement) -> None:
        self.said = announcement

    def take(self) -> Place:
        return self.outgoing.take(self.new_ids, self.publish)


class StreamMachine(RuleBasedStateMachine):
    """A writer with parallel uploads, some of them failing, and a reader that polls from time to time."""

    @initialize()
    def begin(self) -> None:
        self.world = World.begin()
        self.flying: list[Place] = []
        self.reader = IncomingStream(folder(self.world.said), self.world.said, personal=True)
        self.reader.behind = False
        self.seen: set[str] = set()
        self.generator = random.Random(0)

    @rule()
    @precondition(lambda self: len(self.flying) < 3)
    def start_an_upload(self) -> None:
        self.flying.append(self.world.take())

    @rule(data=st.data(), fails=st.booleans())
    @precondition(lambda self: self.flying)
    def end_an_upload(self, data: st.DataObject, fails: bool) -> None:
        place = self.flying.pop(data.draw(st.integers(0, len(self.flying) - 1)))
        if fails:
            self.world.outgoing.give_back(place)
        else:
            self.world.there[place.id] = file_at(place)
            self.world.outgoing.settle(place)

    @rule(data=st.data())
    @precondition(lambda self: self.world.there)
    def delete_a_file(self, data: st.DataObject) -> None:
        file_id = data.draw(st.sampled_from(sorted(self.world.there)))
        del self.world.there[file_id]
        self.world.said = replace(self.world.said, next=self.world.outgoing.settled())

    @rule(ahead=st.integers(1, 3))
    def ask_for_files(self, ahead: int) -> None:
        answers = {file_id: self.world.there.get(file_id) for file_id in self.reader.due(ahead)}
        assert len(answers) <= 64 + ahead
        for position, file in self.reader.take(answers):
            assert file.properties["n"] == str(position)
            self.seen.add(file.id)

    @rule()
    def look_at_the_folder(self) -> None:
        self.reader.learn(self.world.said)

    @invariant()
    def everything_that_is_there_is_found_in_the_end(self) -> None:
        """Check that a reader finds every stored file by the announcement, by ids and by a search."""
        if not hasattr(self, "world"):
            return
        reader = IncomingStream(folder(self.world.said), self.world.said, personal=True)
        reader.__dict__.update(
            {**self.reader.__dict__, "_ids": dict(self.reader._ids), "_holes": dict(self.reader._holes)}
        )
        seen = set(self.seen)
        # At the end all uploads are settled, and the folder announces the next position.
        said = replace(self.world.said, next=self.world.outgoing.next)
        for _ in range(50):
            reader.learn(said)
            if reader.behind:
                reader.behind = False
                for file in self.world.there.values():
                    assert reader.found(file) is not None
                    seen.add(file.id)
            seen.update(file.id for _, file in reader.take({i: self.world.there.get(i) for i in reader.due(4)}))
            if seen >= self.world.there.keys():
                break
        assert seen >= self.world.there.keys()


TestAnyOrderOfAStream = StreamMachine.TestCase
TestAnyOrderOfAStream.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_reader_asks_for_one_id_while_idle() -> None:
    world = World.begin()
    reader = IncomingStream(folder(world.said), world.said, personal=True)

    for _ in range(3):
        assert reader.due(1) == ["id00000000"]
        assert list(reader.take({"id00000000": None})) == []


def test_faster_upload_does_not_hide_slower_one() -> None:
    world = World.begin()
    reader = IncomingStream(folder(world.said), world.said, personal=True)
    slow, fast = world.take(), world.take()

    ids = reader.due(2)
    assert [position for position, _ in reader.take({ids[0]: None, ids[1]: file_at(fast)})] == [1]
    assert reader.due(1) == [slow.id, "id00000002"]
    assert [position for position, _ in reader.take({slow.id: file_at(slow), "id00000002": None})] == [0]
    assert reader.due(1) == ["id00000002"]


def test_file_deleted_unread_is_given_up() -> None:
    world = World.begin()
    reader = IncomingStream(folder(world.said), world.said, personal=True)
    for _ in range(3):
        place = world.take()
        world.outgoing.settle(place)
    later = world.take()

    ids = reader.due(4)
    answers = {**dict.fromkeys(ids), later.id: file_at(later)}
    assert [position for position, _ in reader.take(answers)] == [3]
    # The reader asks once more: the files may have arrived between the two responses.
    assert reader.due(1)[:3] == ids[:3]
    list(reader.take(dict.fromkeys(reader.due(1))))
    assert reader.due(1) == ["id00000004"]


def test_settled_positions_let_reader_continue() -> None:
    world = World.begin()
    reader = IncomingStream(folder(world.said), world.said, personal=True)
    for _ in range(3):
        world.outgoing.settle(world.take())

    reader.learn(replace(world.said, next=world.outgoing.settled()))

    assert reader.due(1) == ["id00000000", "id00000001", "id00000002", "id00000003"]
    list(reader.take(dict.fromkeys(reader.due(1))))
    assert reader.due(1) == ["id00000003"]


def test_reader_after_long_absence_must_search() -> None:
    world = World.begin()
    reader = IncomingStream(folder(world.said), world.said, personal=True)
    reader.behind = False

    reader.learn(Announcement(DIGEST, 1_000, 1_000, ("x" * 33,)))

    assert reader.behind
    assert reader.due(1)[-1] == "x" * 33


def test_hostile_announcement_costs_little() -> None:
    world = World.begin()
    reader = IncomingStream(folder(world.said), world.said, personal=True)

    for base in (0, 3, 10**14, 10**15 - 1, 0):
        reader.learn(Announcement(DIGEST, base, 10**15 - 1, tuple(f"id{base:016}{n:04}" for n in range(ANNOUNCED))))
        assert len(reader.due(3)) <= 70
        assert len(reader._ids) <= 10 * ANNOUNCED


def test_announced_id_cannot_be_replaced() -> None:
    world = World.begin()
    reader = IncomingStream(folder(world.said), world.said, personal=True)

    reader.learn(replace(world.said, ids=("id-of-another-file",)))

    assert reader.due(1) == ["id00000000"]


def test_returned_position_is_used_again() -> None:
    world = World.begin()
    first, second = world.take(), world.take()
    world.outgoing.give_back(first)

    again = world.take()

    assert (again.position, again.id, again.low) == (0, first.id, 0)
    world.outgoing.settle(again)
    assert world.outgoing.settled() == second.position
    world.outgoing.settle(second)
    assert world.outgoing.settled() == 2


def test_ids_are_announced_before_use() -> None:
    world = World.begin()
    for _ in range(12):
        place = world.take()
        announced = dict(enumerate(world.said.ids, world.said.base))
        assert announced[place.position] == place.id
        world.outgoing.settle(place)


def test_new_reader_sees_pending_uploads() -> None:
    world = World.begin()
    slow = world.take()
    for _ in range(12):
        world.outgoing.settle(world.take())

    reader = IncomingStream(folder(world.said), world.said, personal=True)

    assert world.said.base == slow.position
    assert slow.id in reader.due(1)


def test_long_upload_does_not_fill_announcement() -> None:
    world = World.begin()
    world.take()
    for _ in range(3 * ANNOUNCED):
        place = world.take()
        assert dict(enumerate(world.said.ids, world.said.base))[place.position] == place.id
        world.outgoing.settle(place)


def test_too_many_pending_files_need_a_search() -> None:
    ids = tuple(f"id{number:08}" for number in range(ANNOUNCED))
    reader = IncomingStream(folder(Announcement(DIGEST, 0, 0, ids)), Announcement(DIGEST, 0, 0, ids), personal=False)
    reader.behind = False

    reader.learn(Announcement(DIGEST, 0, ANNOUNCED, ids))

    assert reader.behind
    assert len(reader.due(0)) <= 64
