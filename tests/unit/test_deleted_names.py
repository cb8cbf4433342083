"""``DeletedNames`` remembers a limited number of names, and gives them out in turn."""

from syft_flwr._messaging.deleted_names import DeletedNames


def _filled(most: int, number: int) -> DeletedNames:
    names = DeletedNames(most)
    for name in range(number):
        names.add(str(name))
    return names


def test_oldest_names_are_forgotten() -> None:
    names = _filled(3, 5)
    assert (names.all(), len(names)) == (["2", "3", "4"], 3)
    assert "4" in names
    assert "1" not in names


def test_a_name_added_twice_counts_once() -> None:
    names = _filled(3, 3)
    names.add("0")
    assert names.all() == ["0", "1", "2"]


def test_names_are_given_out_in_turn() -> None:
    names = _filled(10, 5)
    assert [names.next(2) for _ in range(4)] == [["0", "1"], ["2", "3"], ["4"], ["0", "1"]]
    assert _filled(10, 0).next(2) == []
