"""The events of a run, which the record of each side contains and a subscriber gets.

``docs/runs.md`` describes them, generated from this module. A later release may add events and fields, so a reader skips
unknown ones. Each field with its default value is left out in the record.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

#: Number of the event format. It changes only if an old reader would misunderstand an event.
VERSION = 1

Number = int | float
#: NaN and infinity are texts.
MetricValue = Number | str | Sequence[Number | str]
#: The kind of the messages that start and stop a run; they do not count as requests.
CONTROL = "system"
#: The group of a stop; Flower's other messages are grouped by round.
STOP_GROUP = "final"
#: The reason of a request that was open when its run ended. It did not fail.
STOPPED = "stopped"
#: The reason of a request whose round was closed, because enough others had a reply. It did not fail.
LATE = "late"
#: All events by name.
EVENTS: "dict[str, type[Event]]" = {}


def moment(time: datetime) -> str:
    """Return a time in the form that events have: UTC, with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Event:
    """One fact of a run. Its name is that of its class, with hyphens, unless it sets another."""

    name: ClassVar[str]
    #: Whether a shortened record keeps it. A few of these tell the whole run.
    lasting: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "name" not in vars(cls):
            cls.name = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__).lower()
        EVENTS[cls.name] = cls


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """A process begins to serve a new run."""

    lasting: ClassVar[bool] = True
    role: str
    app: str
    aggregator: str
    #: Versions by the name of the software.
    versions: Mapping[str, str] = field(default_factory=dict)
    #: Fingerprints of the keys by email: the own one, and the pinned ones.
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    #: Values of the settings by name.
    settings: Mapping[str, str] = field(default_factory=dict)
    #: The process id.
    pid: int = 0
    #: Values of the run configuration by name: those that travel to the data owners; at a data owner, those that its app
    #: sees. ``***`` replaces each value that looks like a secret.
    run_config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunResumed(RunStarted):
    """A process continues a run that an earlier process did not end. At the aggregator, all counts start again."""

    #: The number of resumes so far.
    resumed: int = 0


@dataclass(frozen=True, slots=True)
class RunEnded(Event):
    """The run has ended at this participant."""

    lasting: ClassVar[bool] = True
    #: ``completed``, ``failed`` or ``stopped``.
    state: str
    cause: str = ""
    #: Numbers of events of this process that were lost, by the place of the loss.
    lost: Mapping[str, int] = field(default_factory=dict)
    #: At the aggregator: the failed requests, counted by data owner, kind and reason. ``answered`` is the number of good
    #: replies of the same data owner and kind.
    losses: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Beat(Event):
    """The process that serves the run is alive. Written every 5 seconds; a stopped process writes none."""


@dataclass(frozen=True, slots=True)
class LoggedWarning(Event):
    """A warning or an error in the log of this process."""

    name: ClassVar[str] = "warning"
    lasting: ClassVar[bool] = True
    #: ``warning``, ``error`` or ``critical``.
    level: str
    text: str
    #: The participant whose share of the warnings it uses; empty if it is not about a peer.
    peer: str = ""


@dataclass(frozen=True, slots=True)
class Lost(Event):
    """Events were lost, so the lines before this one are not complete."""

    lasting: ClassVar[bool] = True
    #: The number since the last event of this kind with the same place.
    count: int
    #: ``queue`` (too many at once), ``record`` (the file could not be written), ``subscriber`` (it raised or was too
    #: slow), ``size`` (removed, because the record was too large), ``warnings`` (one peer caused more than its share).
    place: str


@dataclass(frozen=True, slots=True)
class RoundStarted(Event):
    """Aggregator: the first request of a round is sent."""

    lasting: ClassVar[bool] = True
    round: str
    #: The number of rounds of the strategy; 0 if it is not known.
    total: int = 0


@dataclass(frozen=True, slots=True)
class Metrics(Event):
    """Aggregator: the strategy has metrics of a round."""

    lasting: ClassVar[bool] = True
    round: str
    #: ``train`` or ``evaluate`` (aggregated from the data owners), or ``central`` (of the aggregator).
    source: str
    values: Mapping[str, MetricValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RequestSent(Event):
    """Aggregator: a request to a data owner is sealed and recorded, and its file is written next.

    A request that waits for the key of its data owner has this event later, and one that cannot be sealed has none.
    """

    message: str
    data_owner: str
    #: The type of the Flower message.
    kind: str
    round: str = ""
    #: Bytes of the envelope, and of the objects that were written for this request.
    bytes: int = 0
    #: Bytes of objects that this request shares with an earlier request.
    bytes_saved: int = 0
    #: Seconds of sealing and writing.
    seconds_seal: float = 0.0
    #: The end of its lifetime.
    deadline: str = ""
    #: Whether an earlier process of this run recorded it.
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class RequestHeld(Event):
    """Aggregator: a heartbeat of the data owner names the request."""

    message: str
    data_owner: str
    #: ``waiting`` or ``running``.
    stage: str


@dataclass(frozen=True, slots=True)
class RequestProgress(Event):
    """A part of a request has arrived at its data owner. Written at most once a second for a request."""

    message: str
    #: Empty in the record of the data owner.
    data_owner: str = ""
    #: The number of objects that have arrived.
    arrived: int = 0
    #: The number of all objects.
    total: int = 0
    #: Bytes of the objects that have arrived.
    bytes: int = 0
    #: Bytes of all objects; 0 if they are not known.
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ReplyProgress(Event):
    """A part of a reply has arrived at the aggregator. Written at most once a second for a reply."""

    message: str
    #: Empty in the record of the data owner.
    data_owner: str = ""
    #: The number of objects that have arrived.
    arrived: int = 0
    #: The number of all objects.
    total: int = 0
    #: Bytes of the objects that have arrived.
    bytes: int = 0
    #: Bytes of all objects; 0 if they are not known.
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RequestEnded(Event):
    """Aggregator: the strategy gets the outcome of a request."""

    message: str
    data_owner: str
    kind: str
    #: ``answered`` or ``failed``.
    outcome: str
    round: str = ""
    #: The code of the failure, and its text for people.
    reason: str = ""
    text: str = ""
    #: Bytes of the envelope and the objects of the reply.
    bytes: int = 0
    #: Seconds by phase: ``seal``, ``transfer``, ``open`` (at the aggregator), ``download``, ``wait``, ``open_request``,
    #: ``run``, ``seal_reply`` (at the data owner).
    seconds: Mapping[str, float] = field(default_factory=dict)
    replayed: bool = False
    #: Points to the details in the log of the data owner; empty if there are none.
    reference: str = ""
    #: Metrics of a good reply, by name.
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen(Event):
    """Aggregator: a heartbeat of a data owner was found, for the first time or after it was silent."""

    data_owner: str
    software: str = ""


@dataclass(frozen=True, slots=True)
class Heard(Event):
    """Aggregator: new heartbeats of awaited data owners were found. Written at most once a second."""

    data_owners: Sequence[str]


@dataclass(frozen=True, slots=True)
class Silent(Event):
    """Aggregator: no heartbeat of an awaited data owner was found for two heartbeat intervals."""

    data_owner: str
    #: When its last heartbeat was found; empty if there was none.
    last_seen: str = ""


@dataclass(frozen=True, slots=True)
class AggregatorHeard(Event):
    """Data owner: a new heartbeat of the aggregator was found. Written at most every 5 seconds."""

    aggregator: str


@dataclass(frozen=True, slots=True)
class ConfigKept(Event):
    """Aggregator: a data owner keeps own values for keys of the run configuration. Written once for each data owner."""

    lasting: ClassVar[bool] = True
    data_owner: str
    #: The keys. Their values do not travel.
    keys: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Waiting(Event):
    """Aggregator: the data owners that the strategy waits for have changed, their missing keys, or the limit or the end of the wait.

    If only the end has changed, it is written at most every 5 seconds.
    """

    data_owners: Sequence[str]
    #: The time at which the first of the requests ends; empty if there is no limit.
    until: str = ""
    #: ``ttl``, ``timeout`` (of the call), ``round_timeout``, ``msg_timeout`` (silence) or ``min_replies``.
    limit: str = ""
    #: Those of them without a key. Their requests are sealed and sent when the key arrives.
    without_key: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class NodesAwaited(Event):
    """Aggregator: the strategy or the ServerApp sends nothing until more data owners are online, or their number has changed.

    The wait ends with the next request. It has no limit.
    """

    #: The data owners that are online.
    online: int
    #: The least number that it waits for.
    needed: int


@dataclass(frozen=True, slots=True)
class RequestReceived(Event):
    """Data owner: a request of the aggregator was verified and recorded. After a restart, this can come again."""

    message: str
    aggregator: str
    kind: str
    round: str = ""
    #: Bytes of the envelope and its objects.
    bytes: int = 0
    #: SHA-256 of the envelope, in hexadecimal.
    digest: str = ""


@dataclass(frozen=True, slots=True)
class RequestRefused(Event):
    """Data owner: a file is no authentic request and was ignored, or a request got an error in place of the app's reply."""

    #: The name of the file, or the id of the message.
    message: str
    aggregator: str
    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class RequestStarted(Event):
    """Data owner: the app gets the request."""

    message: str
    #: 1, or more if an earlier attempt was interrupted, or its state could not be read.
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class ReplyReleased(Event):
    """Data owner: the reply was recorded, and its file was written. After a restart, this can come again."""

    message: str
    aggregator: str
    #: ``answered`` or ``failed``.
    outcome: str
    round: str = ""
    #: The code of the failure, and its text for people.
    reason: str = ""
    text: str = ""
    #: Bytes of the envelope and the objects that left.
    bytes: int = 0
    #: Names of the records in the reply.
    records: Sequence[str] = ()
    #: Metrics in the reply, by name.
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)
    #: Seconds by phase: ``download``, ``wait``, ``open``, ``run``, ``seal``.
    seconds: Mapping[str, float] = field(default_factory=dict)
    #: Points to the details in the log of the data owner; empty if there are none.
    reference: str = ""


@dataclass(frozen=True, slots=True)
class RequestClosed(Event):
    """Data owner: the request is over, and the files of its reply are deleted."""

    message: str
