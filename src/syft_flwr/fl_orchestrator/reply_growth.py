"""Refuses replies whose arrays would grow beyond a limit when a strategy adds them to others.

The arrays of a round are compared with those of its requests first, then with those of the accepted replies. An array with
the shape of a request or of an accepted reply is never refused. So one data owner cannot cause the refusal of the others.
If the replies of more than half of the asked data owners do not fit the requests, the app changes the shapes on purpose. Then
the replies are compared only with each other.

Legacy strategies collect each reply in a call of its own. If two of their replies do not fit together, although both fit the
request, the arrival must not decide. Both pass, and :meth:`ReplyGrowth.settle` decides when the strategy has all replies.
"""

import threading
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flwr.app import Message, RecordDict

from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.added_shapes import AddedShapes, Growth, Layout, Place
from syft_flwr.fl_orchestrator.record_check import place

#: Bytes to which the arrays of a round may grow together, or this many times the largest content.
_MOST_GROWN, _TIMES = 128 << 20, 4
#: Data owners that can show together that an app changes shapes on purpose. One alone can be hostile.
_FEW = 2
#: Rounds that are kept. Replies to earlier ones come from loops that the app made itself.
_KEPT_ROUNDS = 8
#: The record of a legacy result. It holds the arrays.
_LEGACY = "fitres.parameters"
#: Characters of a shape in a text.
_SHOWN = 60

#: The type and the group of messages.
_Key = tuple[str, str]
#: The arrays that grow, and why they are too large.
_Test = tuple[list[Growth], MalformedError | None]


class _Collected(NamedTuple):
    """The reply of one data owner."""

    node: int
    layout: Layout
    #: The id of its request.
    message_id: str
    #: Whether :meth:`ReplyGrowth.settle` can decide.
    is_legacy: bool


@dataclass(slots=True)
class _Round:
    """The shapes in the requests of one round, and in the accepted replies to them."""

    requests: AddedShapes = field(default_factory=AddedShapes)
    replies: AddedShapes = field(default_factory=AddedShapes)
    #: Bytes of the largest content.
    largest: int = 0
    #: The nodes of the data owners with a request.
    asked: set[int] = field(default_factory=set)
    #: Whether the replies of most data owners did not fit the requests.
    is_free: bool = False
    #: The bytes of the arrays that grew, by place.
    grown: dict[Place, int] = field(default_factory=dict)
    #: The replies that a legacy strategy has got, and whether some of them do not fit together.
    legacy: list[_Collected] = field(default_factory=list)
    is_contested: bool = False

    def test(self, layout: Layout, known: Sequence[AddedShapes] | None = None) -> _Test:
        """Return the arrays of a reply that grow, and why it must be refused; None if it fits."""
        if known is None:
            known = [self.replies] if self.is_free else [self.requests, self.replies]
        try:
            found = layout.growth(known)
        except MalformedError as error:
            return [], error
        # Another reply can have grown more in the same place.
        total = sum({**self.grown, **{each.place: self._most_grown(each) for each in found}}.values())
        limit = max(_MOST_GROWN, _TIMES * max(self.largest, layout.size))
        is_over = found and total > limit
        return found, _described(max(found, key=lambda each: each.bytes), limit) if is_over else None

    def _most_grown(self, growth: Growth) -> int:
        return max(growth.bytes, self.grown.get(growth.place, 0))

    def accept(self, layout: Layout, found: Iterable[Growth]) -> None:
        self.grown |= {each.place: self._most_grown(each) for each in found}
        self.replies.add(layout)
        self.largest = max(self.largest, layout.size)


class ReplyGrowth:
    """The shapes of the arrays in the latest requests and in the accepted replies to them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rounds: dict[_Key, _Round] = {}
        #: Whether :meth:`settle` will be called.
        self.settles = False
        #: The round and the node of each request without a collected reply.
        self._open: dict[str, tuple[_Round, int]] = {}

    def begin(self) -> None:
        """Forget the rounds of the run before."""
        with self._lock:
            self._rounds.clear()

    def note_requests(self, sent: Iterable[tuple[str, Message]]) -> None:
        """Keep the shapes of requests, each with its id."""
        last: Layout | None = None
        content: RecordDict | None = None
        for message_id, message in sent:
            # Most strategies send one content to all data owners.
            layout = last if last and message.content is content else Layout.of(message.content)
            content = message.content
            with self._lock:
                found = self._round(message)
                self._open[message_id] = found, message.metadata.dst_node_id
                found.asked.add(message.metadata.dst_node_id)
                if layout != last or not found.largest:
                    found.requests.add(layout)
                    found.largest = max(found.largest, layout.size)
            last = layout

    def _round(self, message: Message) -> _Round:
        key = message.metadata.message_type, message.metadata.group_id
        found = self._rounds.pop(key, None)
        if found is None or not (key[1] or any(each is found for each, _ in self._open.values())):
            # Without a group, a request after all replies begins another round.
            found = _Round()
        # The latest one is the last.
        self._rounds[key] = found
        while len(self._rounds) > _KEPT_ROUNDS:
            del self._rounds[next(iter(self._rounds))]
        return found

    def refuse(self, collected: Sequence[tuple[str, Message | None]]) -> Mapping[str, MalformedError]:
        """Return why some replies of one call must not reach the strategy, by the ids of their requests."""
        found = [
            (each, Layout.of(reply.content), self.settles and _LEGACY in reply.content)
            for each, reply in collected
            if reply and reply.has_content()
        ]
        refused: dict[str, MalformedError] = {}
        with self._lock:
            rounds: dict[int, tuple[_Round, list[_Collected]]] = {}
            ended = {message_id: self._open.pop(message_id, None) for message_id, _ in collected}
            for message_id, layout, is_legacy in found:
                if asked := ended[message_id]:
                    round_, node = asked
                    rounds.setdefault(id(round_), (round_, []))[1].append(
                        _Collected(node, layout, message_id, is_legacy)
                    )
            for round_, replies in rounds.values():
                refused |= {reply.message_id: error for reply, error in _refuse(round_, replies)}
        return refused

    def settle(self, group: str) -> Mapping[int, MalformedError]:
        """Return why replies that a legacy strategy has collected must not be added, by the nodes of their data owners."""
        with self._lock:
            found = self._rounds.get(("train", group))
            if found is None or not found.is_contested:
                return {}
            again = _Round(requests=found.requests, largest=found.largest, asked=found.asked)
            replies = [reply._replace(is_legacy=False) for reply in found.legacy]
            return {reply.node: error for reply, error in _refuse(again, replies)}


def _refuse(round_: _Round, replies: Sequence[_Collected]) -> Iterator[tuple[_Collected, MalformedError]]:
    """Yield the replies of a round that must be refused, and accept the others."""
    by_layout: dict[Layout, list[_Collected]] = {}
    for reply in replies:
        by_layout.setdefault(reply.layout, []).append(reply)
    # In lists, because the hash of a layout takes long.
    forms = list(by_layout.items())
    tests: list[_Test | None] = [round_.test(layout) for layout, _ in forms]
    over = [test is not None and test[1] is not None for test in tests]
    unfit = {reply.node for (_, alike), is_over in zip(forms, over, strict=True) if is_over for reply in alike}
    if len(unfit) >= _FEW and 2 * len(unfit) > len(round_.asked):
        round_.is_free, tests = True, [None] * len(forms)
    for number in _in_order(forms, over):
        layout, alike = forms[number]
        found, error = tests[number] or round_.test(layout)
        if error is None:
            round_.accept(layout, found)
            round_.legacy += [reply for reply in alike if reply.is_legacy]
            # The others must be compared with this one, too.
            tests = [None] * len(forms)
        elif all(reply.is_legacy for reply in alike) and round_.test(layout, [round_.requests])[1] is None:
            round_.is_contested = True
            round_.legacy += alike
        else:
            yield from ((reply, error) for reply in alike)


def _in_order(forms: Sequence[tuple[Layout, Sequence[_Collected]]], over: Sequence[bool]) -> list[int]:
    """Return the order of the forms: the pattern of most replies is first. Of equally many, those that fit are first."""
    if len(forms) == 1:
        # A pattern costs time.
        return [0]
    patterns = [layout.pattern() for layout, _ in forms]
    usual: Counter[Hashable] = Counter()
    for pattern, (_, alike) in zip(patterns, forms, strict=True):
        usual[pattern] += len(alike)
    return sorted(range(len(forms)), key=lambda number: (-usual[patterns[number]], over[number]))


def _described(growth: Growth, limit: int) -> MalformedError:
    one, other, grown = (str(shape)[:_SHOWN] for shape in (growth.shape, growth.other, growth.grown))
    where = place(*growth.name)
    return MalformedError(
        f"{where}: NumPy would add arrays of the shapes {one} and {other} as one of {grown}, and the arrays of a round may "
        f"grow to {limit} bytes"
    )
