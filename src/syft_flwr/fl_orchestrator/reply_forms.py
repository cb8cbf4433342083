"""Names the data owners whose replies do not fit those of the others, when a strategy cannot aggregate them.

Flower's strategies average the replies of a round by key, and their errors name no data owner. So the form of each reply is
kept until the next round: its keys, types and shapes, and no content. Nothing is refused here, because an app may get
different replies on purpose.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict

from syft_flwr.fl_orchestrator.array_check import form_of
from syft_flwr.fl_orchestrator.record_check import place
from syft_flwr.text import counted

#: The methods of a strategy, by which a traceback shows an aggregation.
_AGGREGATIONS = {"aggregate_train", "aggregate_evaluate", "aggregate_fit"}
_STRETCHED = "NumPy stretches such an array without an error, so the model may be wrong now"
_RETYPED = "the model has this type now, with other bytes or precision than before"
#: Data owners that one text names, and characters of a shape in it.
_SHOWN, _LONGEST = 3, 60
#: A record and a key. The name of the only record of its kind is empty, because a request and its replies differ in it.
_Place = tuple[str, str]
#: The type and the shape of an array, or the kind of a metric or of opaque bytes.
_Value = tuple[str, tuple[int, ...] | None]
_Values = dict[_Place, _Value]


@dataclass(frozen=True, slots=True)
class _Form:
    """The form of one content."""

    arrays: _Values
    metrics: _Values
    #: The names of the array records and of the metric records.
    names: tuple[tuple[str, ...], tuple[str, ...]]

    @classmethod
    def of(cls, content: RecordDict) -> "_Form":
        arrays = {name: record for name, record in content.items() if isinstance(record, ArrayRecord)}
        metrics = {name: record for name, record in content.items() if isinstance(record, MetricRecord)}
        return cls(
            {
                (name if len(arrays) > 1 else "", key): form_of(array)
                for name, record in arrays.items()
                for key, array in record.items()
            },
            {
                (name if len(metrics) > 1 else "", key): (_kind_of(value), None)
                for name, record in metrics.items()
                for key, value in record.items()
            },
            (tuple(arrays), tuple(metrics)),
        )


@dataclass(slots=True)
class _Group:
    """Replies of one form."""

    form: _Form
    data_owners: list[str] = field(default_factory=list)


_Same = Callable[[_Form, _Form], bool]
#: A data owner, the form of its reply, and the expected form.
_Difference = tuple[str, _Form, _Form]


class ReplyForms:
    """The forms of the latest requests and of the replies to them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key = ("", "")
        self._request: _Form | None = None
        self._groups: list[_Group] = []
        self._stretched: list[str] = []

    def note_request(self, message: Message) -> list[tuple[str, str]]:
        """Keep the form of a request. The first one of another round or type replaces all that is kept.

        Returns:
            The arrays of the round before with which NumPy changes the model in silence, each with its effect: it stretches
            them, or takes over their type.
        """
        key = message.metadata.message_type, message.metadata.group_id
        with self._lock:
            if self._request is not None and key == self._key:
                return []
            form = _Form.of(message.content)
            found: list[tuple[str, str]] = []
            # After the first stretch, the model has a wrong shape, and the right replies seem to differ.
            if self._request and not self._stretched:
                self._stretched = _stretched(self._groups, self._request, form)
                found = [(each, _STRETCHED) for each in self._stretched]
                found = found or [(each, _RETYPED) for each in _retyped(self._groups, self._request, form)]
            self._key, self._request, self._groups = key, form, []
            return found

    def note_reply(self, data_owner: str, reply: Message) -> None:
        """Keep the form of a reply to the latest requests, if it has content."""
        key = reply.metadata.message_type, reply.metadata.group_id
        if not reply.has_content() or key != self._key:
            return
        form = _Form.of(reply.content)
        with self._lock:
            # Another thread can have begun the next round meanwhile.
            if key == self._key:
                _put(self._groups, form, [data_owner], lambda one, other: one == other)

    def explain(self, error: BaseException | None) -> str:
        """Return which replies differ, if ``error`` is that of an aggregation; otherwise empty.

        Arrays are compared with the request, if a reply has the same ones, and otherwise with those of most replies. If
        there are no most, all data owners are named.
        """
        if error is None or not _is_of_aggregation(error):
            return ""
        with self._lock:
            found = self._stretched or self._differences()
        shown = "; ".join(found[:_SHOWN])
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return f"the replies do not fit together: {shown}{more}" if found else ""

    def _differences(self) -> list[str]:
        for same in (_same_shapes, _same_types, _same_metrics):
            found = _compare(self._groups, None if same is _same_metrics else self._request, same)
            if found:
                return [_described(each, is_of_metrics=same is _same_metrics) for each in found]
        return []


def _put(groups: list[_Group], form: _Form, data_owners: list[str], same: _Same) -> None:
    """Add data owners to the group with the same form."""
    for group in groups:
        if same(group.form, form):
            group.data_owners.extend(data_owners)
            return
    groups.append(_Group(form, list(data_owners)))


def _compare(known: list[_Group], request: _Form | None, same: _Same) -> list[_Difference]:
    """Return the replies that differ from the expected form."""
    groups: list[_Group] = []
    for group in known:
        _put(groups, group.form, group.data_owners, same)
    groups.sort(key=lambda group: -len(group.data_owners))
    if request and any(same(group.form, request) for group in groups):
        expected: _Form | None = request
    elif len(groups) > 1:
        is_most = len(groups[0].data_owners) > len(groups[1].data_owners)
        expected = groups[0].form if is_most else None
    elif request and groups and groups[0].form.arrays.keys() == request.arrays.keys():
        # All replies agree. A strategy can still need the shapes of its own model.
        expected = request
    else:
        return []
    found: list[_Difference] = []
    # Not the merged groups: the names of their records can differ.
    for group in known:
        compared = expected or next(other.form for other in groups if not same(other.form, group.form))
        if not same(group.form, compared):
            found += [(owner, group.form, compared) for owner in group.data_owners]
    return found


def _stretched(known: list[_Group], request: _Form, following: _Form) -> list[str]:
    """Return the arrays of another shape in the replies to ``request`` that NumPy can add to those of the others."""
    if following.arrays.keys() != request.arrays.keys():
        return []
    found = _compare(known, request, _same_shapes)
    if len(found) == sum(len(group.data_owners) for group in known) and _same_shapes(request, following):
        # The replies of all data owners differ from the request on purpose.
        return []
    return [_described(each, is_of_metrics=False) for each in found if _can_be_added(each[1], each[2])]


def _retyped(known: list[_Group], request: _Form, following: _Form) -> list[str]:
    """Return the arrays of another type in the replies to ``request``, if the model has this type now."""
    changed = {where for where, value in following.arrays.items() if value[0] != request.arrays.get(where, value)[0]}
    found = _compare(known, request, _same_types) if changed else []
    # The replies of all data owners differ from the request on purpose.
    is_odd = len(found) < sum(len(group.data_owners) for group in known)
    return [
        _described(each, is_of_metrics=False)
        for each in found
        if is_odd and any(each[1].arrays.get(where, ("",))[0] == following.arrays[where][0] for where in changed)
    ]


def _can_be_added(one: _Form, other: _Form) -> bool:
    if one.arrays.keys() != other.arrays.keys():
        return False
    for where, (_, shape) in one.arrays.items():
        pairs = zip(reversed(shape or ()), reversed(other.arrays[where][1] or ()), strict=False)
        if not all(side == wanted or 1 in (side, wanted) for side, wanted in pairs):
            return False
    return True


def _described(difference: _Difference, *, is_of_metrics: bool) -> str:
    """Return the data owner and the first difference."""
    owner, found, expected = difference
    theirs, others = (form.metrics if is_of_metrics else form.arrays for form in (found, expected))
    names, usual = (form.names[is_of_metrics] for form in (found, expected))
    if len(names) != len(usual):
        kind = "metric record" if is_of_metrics else "array record"
        return f"{owner}: {counted(len(names), kind)} instead of {len(usual)}"
    where = next(each for each in {**others, **theirs} if theirs.get(each) != others.get(each))
    name = f"{owner}: {place(where[0] or names[0], where[1])}"
    if where not in theirs:
        return f"{name} is missing"
    if where not in others:
        return f"{name} is in no other reply"
    return f"{name} is {_value(theirs[where])} instead of {_value(others[where])}"


def _value(value: _Value) -> str:
    kind, shape = value
    return f"{kind} of shape {str(shape)[:_LONGEST]}" if shape is not None else kind


def _same_shapes(one: _Form, other: _Form) -> bool:
    shapes = [{where: shape for where, (_, shape) in form.arrays.items()} for form in (one, other)]
    return shapes[0] == shapes[1]


def _same_types(one: _Form, other: _Form) -> bool:
    return one.arrays == other.arrays


def _same_metrics(one: _Form, other: _Form) -> bool:
    return one.metrics == other.metrics


def _kind_of(metric: object) -> str:
    return f"a list of {len(metric)} numbers" if isinstance(metric, list) else "a number"


def _is_of_aggregation(error: BaseException) -> bool:
    """Return whether ``error`` was raised while a strategy aggregated replies."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in _AGGREGATIONS:
            return True
        trace = trace.tb_next
    return False
