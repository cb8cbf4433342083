"""Tells to which shapes arrays grow when NumPy adds them: ``(N,)`` and ``(N, 1)`` become ``(N, N)``, without an error.

Two shapes can be added if, counted from the end, two sides are equal or one of them is 1. A missing side counts as 1. The
larger side remains. In NumPy, 0 remains beside 1. Here, 1 remains, so that an empty array hides no growth of the others.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from flwr.app import Array, ArrayRecord, RecordDict

from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.array_check import layout_of

Shape = tuple[int, ...]
#: An array in a content: its record and its key.
Name = tuple[str, str]
#: Arrays in the same place are added: those with the same key, or the same number in contents with as many arrays.
Place = Hashable

#: Bytes of the numbers with which NumPy calculates, unless those of the array have more.
_NUMBER = 8
#: Shapes in one place that are compared one by one. The further ones count together, as the largest of each side.
_MOST_SHAPES = 4
#: Sides that one content may be compared with. A content with the shapes of its request needs none of them.
_MOST_STEPS = 300_000
#: Flower's name of the array in an empty legacy model. It is no array for a strategy.
_EMPTY = "_empty"


@dataclass(frozen=True, slots=True)
class Growth:
    """One array that grows when it is added to others: to ``grown``, of ``bytes``."""

    name: Name
    place: Place
    shape: Shape
    other: Shape
    grown: Shape
    bytes: int


@dataclass(frozen=True, slots=True)
class _PlacedArray:
    """One array of a content."""

    name: Name
    shape: Shape
    #: These follow from the others, and from the order of the arrays.
    places: tuple[Place, ...] = field(compare=False)
    #: The shape from its end, without the sides of 1 at its beginning.
    sides: Shape = field(compare=False)
    #: Bytes of an item in a sum.
    width: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The shapes of all arrays of one content."""

    arrays: tuple[_PlacedArray, ...] = ()
    #: Bytes of the arrays. Arrays that share their bytes count once.
    size: int = field(default=0, compare=False)

    @classmethod
    def of(cls, content: RecordDict) -> "Layout":
        """Return the layout of a content with sound arrays."""
        named = [
            ((name, key), array)
            for name, record in content.items()
            if isinstance(record, ArrayRecord)
            for key, array in record.items()
            if key != _EMPTY
        ]
        arrays = tuple(_placed(name, array, number, len(named)) for number, (name, array) in enumerate(named))
        return cls(tuple(filter(None, arrays)), sum({id(array.data): len(array.data) for _, array in named}.values()))

    def pattern(self) -> Hashable:
        """Return the positions of the sides above 1. Arrays of one pattern do not grow together, also of other lengths."""
        return tuple((array.places, tuple(side > 1 for side in array.sides)) for array in self.arrays)

    def growth(self, known: Sequence["AddedShapes"]) -> list[Growth]:
        """Return the arrays that grow when they are added to known ones.

        Raises:
            MalformedError: so many arrays have unknown shapes that the comparison would take long.
        """
        # An array of another record can have the same key. All arrays of one shape in one place grow once.
        seen: dict[tuple[Place, Shape], Growth | None] = {}
        found: dict[Place, Growth] = {}
        steps = 0
        for array in self.arrays:
            for place in array.places:
                if (place, array.sides) in seen:
                    continue
                others = [shapes.at(place) for shapes in known]
                if any(array.sides in each.by_sides for each in others):
                    # The others were compared with this shape when they were accepted.
                    seen[place, array.sides] = None
                    continue
                steps += sum(each.steps(len(array.sides)) for each in others)
                if steps > _MOST_STEPS:
                    raise MalformedError("the arrays have too many shapes that differ from those of the other messages")
                seen[place, array.sides] = _growth(array, place, others)
            both = [growth for place in array.places if (growth := seen[place, array.sides])]
            if both:
                # By key and by number, an array is mostly added to the same ones.
                largest = max(both, key=lambda growth: growth.bytes)
                found[largest.place] = max(largest, found.get(largest.place, largest), key=lambda growth: growth.bytes)
        return list(found.values())


@dataclass(slots=True)
class _Known:
    """The known shapes in one place: a shape by its sides, the largest of the further sides, and of the widths of items."""

    by_sides: dict[Shape, Shape] = field(default_factory=dict)
    further: Shape = ()
    width: int = _NUMBER

    def add(self, array: _PlacedArray) -> None:
        if len(self.by_sides) < _MOST_SHAPES:
            self.by_sides.setdefault(array.sides, array.shape)
        elif array.sides not in self.by_sides:
            self.further = _enlarged(self.further, array.sides)
        self.width = max(self.width, array.width)

    def steps(self, sides: int) -> int:
        """Return the work of a comparison with an array of so many sides."""
        return sum(1 + min(sides, len(each)) for each in self.by_sides) + len(self.further)


_NOTHING = _Known()


class AddedShapes:
    """The shapes of several contents, by place."""

    def __init__(self) -> None:
        self._places: dict[Place, _Known] = {}

    def add(self, layout: Layout) -> None:
        for array in layout.arrays:
            for place in array.places:
                self._places.setdefault(place, _Known()).add(array)

    def at(self, place: Place) -> _Known:
        return self._places.get(place, _NOTHING)


def _placed(name: Name, array: Array, number: int, count: int) -> _PlacedArray | None:
    """Return one array of a content; None for opaque bytes, which NumPy cannot add."""
    found = layout_of(array)
    if found is None:
        return None
    shape, width = found
    sides = list(reversed(shape))
    while sides and sides[-1] == 1:
        sides.pop()
    return _PlacedArray(name, shape, (name[1], (number, count)), tuple(sides), max(width, _NUMBER))


def _growth(array: _PlacedArray, place: Place, known: Iterable[_Known]) -> Growth | None:
    """Return the growth of an array beside all known ones together to which it can be added; None if it does not grow."""
    grown, most, other, width = array.sides, math.prod(array.sides), array.shape, array.width
    for each in known:
        for sides, shape in each.by_sides.items():
            if not _can_be_added(array.sides, sides):
                continue
            grown = _enlarged(grown, sides)
            width = max(width, each.width)
            if math.prod(sides) >= most or other == array.shape:
                most, other = max(most, math.prod(sides)), shape
        # Only a side of 1 can be stretched.
        pairs = zip_longest(each.further, array.sides, fillvalue=1)
        stretching = tuple(side if own == 1 else 0 for side, own in pairs)
        if any(side > 1 for side in stretching):
            grown, width = _enlarged(grown, stretching), max(width, each.width)
    if math.prod(grown) <= most:
        return None
    return Growth(array.name, place, array.shape, other, grown[::-1], math.prod(grown) * width)


def _enlarged(one: Shape, other: Shape) -> Shape:
    """Return the larger of each two sides, counted from the end of the shapes."""
    return tuple(map(max, zip_longest(one, other, fillvalue=1)))


def _can_be_added(one: Shape, other: Shape) -> bool:
    return all(side == wanted or 1 in (side, wanted) for side, wanted in zip(one, other, strict=False))
