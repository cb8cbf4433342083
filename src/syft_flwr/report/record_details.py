"""The parts of a record that only the report of a run shows: versions, metrics of each data owner, replies and losses."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.metric_row import MetricRow, metric_rows

#: Refused files of which the text is kept; the first ones.
_KEPT_REFUSALS = 1_000
#: Names of metrics that one participant may add. A peer can choose new ones for each reply, and each has a table.
MOST_NAMES = 1_000
#: The name of the round of a message that belongs to none.
NO_ROUND = "no round"


class RoundValues(dict[str, Any]):
    """The values of one metric of one participant by round."""

    def __init__(self) -> None:
        super().__init__()
        self._counts: Counter[str] = Counter()

    def put(self, number: str, value: Any) -> None:
        """Add a value. A second one of a round, as of a second training, gets a name of its own."""
        base = number or NO_ROUND
        count = self._counts[base]
        latest = base if count < 2 else f"{base} ({count})"
        # A strategy can tell its metrics of a round twice.
        if not count or not number or self[latest] != value:
            self._counts[base] += 1
            self[base if not count else f"{base} ({count + 1})"] = value


@dataclass(slots=True)
class RequestDetails:
    """The parts of one request and of its reply that the history of a run leaves out."""

    #: Points to the details in the log of the data owner.
    reference: str = ""
    #: At a data owner: the digest of the request, the number of attempts, and the names of the records in the reply.
    digest: str = ""
    attempts: int = 0
    records: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file or a request that a data owner refused."""

    time: datetime
    message: str
    sender: str
    reason: str
    text: str


class RecordDetails:
    """Collects from the entries of one record, beside its history. After a resume, an aggregator begins again."""

    def __init__(self) -> None:
        self.versions: Mapping[str, Any] = {}
        self.fingerprints: Mapping[str, Any] = {}
        self.run_config: Mapping[str, Any] = {}
        #: Values by source and name of the metric, then by data owner (empty for the whole run) and round.
        self.metrics: dict[tuple[str, str], dict[str, RoundValues]] = {}
        #: Values without a place there, because their participant had too many names; and the numbers of its names.
        self.left_out = 0
        self._names: Counter[str] = Counter()
        self._requests: dict[str, RequestDetails] = {}
        self.refusals: list[RefusedFile] = []
        self.refused = 0
        #: Keys of the run configuration that data owners keep.
        self.kept_keys: dict[str, tuple[str, ...]] = {}
        #: Numbers of lost events by place.
        self.lost: Counter[str] = Counter()
        #: Whether the record has the begin of the run.
        self.has_begin = False
        #: Lines that are missing by their numbers.
        self.gaps = 0
        self._last = 0
        self._role = ""
        self._handlers: dict[str, Callable[[RecordEntry], None]] = {
            "run-started": self._begin,
            "run-resumed": self._begin,
            "request-received": self._receive_request,
            "request-started": self._start_request,
            "request-ended": self._end_request,
            "reply-released": self._end_request,
            "request-refused": self.refuse,
            "config-kept": self._keep,
            "lost": self._lose,
        }

    def add(self, entry: RecordEntry) -> None:
        """Add one event."""
        # A record that begins again after its loss starts at 1.
        self.gaps += max(0, entry.n - self._last - 1)
        self._last = entry.n
        if handler := self._handlers.get(entry.event):
            handler(entry)
        for row in metric_rows(entry):
            self._put(row)

    def _put(self, row: MetricRow) -> None:
        owners = self.metrics.get((row.source, row.name))
        if owners is None:
            if self._names[row.data_owner] >= MOST_NAMES:
                self.left_out += 1
                return
            self._names[row.data_owner] += 1
            owners = self.metrics[row.source, row.name] = {}
        if (values := owners.get(row.data_owner)) is None:
            values = owners[row.data_owner] = RoundValues()
        values.put(row.round, row.value)

    def _begin(self, entry: RecordEntry) -> None:
        self.has_begin = True
        self._role = entry.text("role")
        self.versions, self.fingerprints = (entry.mapping(name) for name in ("versions", "fingerprints"))
        self.run_config = entry.mapping("run_config")
        if self._role == "aggregator":
            self.metrics.clear()
            self._names.clear()
            self.left_out = 0
            self._requests.clear()

    def request(self, message: str) -> RequestDetails:
        """Return the details of a request; empty ones if the record has none."""
        return self._requests.get(message) or RequestDetails()

    def _request(self, entry: RecordEntry) -> RequestDetails:
        return self._requests.setdefault(entry.text("message"), RequestDetails())

    def _receive_request(self, entry: RecordEntry) -> None:
        self._request(entry).digest = entry.text("digest")

    def _start_request(self, entry: RecordEntry) -> None:
        request = self._request(entry)
        request.attempts = max(request.attempts, entry.number("attempt") or 1)

    def _end_request(self, entry: RecordEntry) -> None:
        records = entry.texts("records")
        if not records and "reference" not in entry.fields:
            # A large run has many of these.
            return
        request = self._request(entry)
        request.reference = request.reference or entry.text("reference")
        request.records = records

    def refuse(self, entry: RecordEntry) -> None:
        """Add a refused file or request."""
        self.refused += 1
        if len(self.refusals) < _KEPT_REFUSALS:
            values = (entry.text(name) for name in ("message", "aggregator", "reason", "text"))
            self.refusals.append(RefusedFile(entry.time, *values))

    def _keep(self, entry: RecordEntry) -> None:
        self.kept_keys[entry.text("data_owner")] = entry.texts("keys")

    def _lose(self, entry: RecordEntry) -> None:
        # An event that only the subscriber lost is in the record.
        if entry.text("place") != "subscriber":
            self.lost[entry.text("place")] += entry.number("count")
