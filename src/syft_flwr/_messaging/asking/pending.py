"""One request of the aggregator: its content, its stage, and the times from which its limits count."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto

from syft_flwr._messaging.arrivals import Arrival
from syft_flwr._messaging.asking.round_limits import Round
from syft_flwr._messaging.wire.body import Body, Failure
from syft_flwr.runs.costs import MessageCost


@dataclass(frozen=True, slots=True)
class Ask:
    """The content of one request to one datasite.

    ``lifetime`` is in seconds. ``buffers`` are the encoded message. ``round`` is only for logs and status files, and is
    not sent; if it is empty, the group is shown.
    """

    recipient: str
    run: int
    type: str
    group: str
    lifetime: float
    buffers: Sequence[bytes]
    round: str = ""
    #: Whether a resumed run reuses an equal request of an earlier process, in place of a second one.
    once: bool = True
    #: Whether the record of the run mentions it. A ping is no part of a run.
    recorded: bool = True
    #: Whether it belongs to a round, so that silence and the limits of the round can end it. Control messages do not.
    in_a_round: bool = True
    #: The numbers of the buffers that travel in the envelope in any case.
    always_inline: tuple[int, ...] = ()

    @property
    def sharable(self) -> Sequence[bytes]:
        """Return the buffers that may be stored once for several recipients."""
        return [buffer for number, buffer in enumerate(self.buffers) if number not in self.always_inline]

    def without_buffers(self) -> "Ask":
        """Return a copy without buffers, which frees their memory after they were sealed and recorded."""
        return replace(self, buffers=())


class Stage(Enum):
    """The stage of a request in this process. The recorded state is :class:`~syft_flwr._store.states.Future`."""

    #: The sending thread seals and records the envelope.
    SEALING = auto()
    #: The peer has published no key. The request is sealed when the key appears.
    WAITING_FOR_KEY = auto()
    #: The envelope is recorded, and its file must be written.
    TO_WRITE = auto()
    #: The file is written, or a thread is writing it. A reply may come.
    SENT = auto()
    #: The reply is recorded. Not all its objects have arrived.
    ARRIVING = auto()
    #: The request has a failure that is not recorded yet.
    ENDED = auto()
    #: The outcome can be collected.
    DONE = auto()


@dataclass(slots=True)
class Pending:
    """One request. After it was added to :class:`PendingRequests`, only that class changes its ``stage``."""

    id: str
    asked: Ask
    created: datetime
    expires: datetime
    #: Monotonic times: the end of its lifetime, and the last heartbeat or new object for it.
    deadline: float
    seen: float
    request_name: str
    response_name: str
    #: Digest of the message; empty if a resumed run always sends it again.
    content: str = ""
    #: The envelope until its file is written, its SHA-256 in hexadecimal, and the ids of its objects.
    request: bytes | None = None
    digest: str = ""
    objects: Sequence[str] = ()
    #: Bytes of these objects; 0 for a request of an earlier process.
    object_bytes: int = 0
    #: Whether an earlier process of this run recorded it, and whether the outcome comes from that process, too.
    replayed: bool = False
    restored: bool = False
    #: The body of the reply after it was received, and its objects.
    body: Body | None = None
    arrival: Arrival | None = None
    #: The decoded reply after all its objects have arrived.
    answer: object = None
    failure: Failure | None = None
    stage: Stage = Stage.SEALING
    #: The round that it belongs to; None for a control message.
    round: Round | None = None
    account: MessageCost = field(default_factory=MessageCost)
    #: The monotonic time at which its file was written, and whether the write has ended.
    sent: float = 0.0
    placed: bool = False
    #: Its state at the data owner by the last heartbeat: ``waiting``, ``running`` or empty, and the monotonic time since.
    held: str = ""
    held_since: float = 0.0
    #: Whether the data owner worked on another request then.
    is_behind: bool = False
    #: The monotonic time at which the last part of its reply arrived.
    moved: float = -math.inf
    #: The monotonic time of the last event about the progress of its reply.
    progress_at: float = -math.inf
    #: The monotonic time at which the call that waits for it ends, and the seconds of that limit.
    call_ends: float = math.inf
    timeout: float = math.inf
    #: Seconds of silence that count, and the monotonic time of the last look at the files of its data owner.
    silent: float = 0.0
    checked: float = 0.0
    #: The monotonic time since which a limit has passed and a last look is awaited.
    due_since: float = math.inf
    #: The monotonic time at which the last finished look at its reply began.
    looked: float = -math.inf
    #: The monotonic time at which the wait for it ends, and the limit that decides.
    ends: tuple[float, str] = (math.inf, "")
    #: The error in a reply with content; empty if there is none.
    error: str = ""
    #: The seconds from that time until its reply was complete; 0 if there is no reply, or an earlier process got it.
    round_trip: float = 0.0

    def __post_init__(self) -> None:
        self.checked = self.seen

    def known_progress(self) -> str:
        """Return the known progress of a request without an outcome, as the end of a text; empty if there is none."""
        # The thread of a strategy may collect it at this moment.
        if arrival := self.arrival:
            return f"; {arrival.progress} of the reply have arrived"
        if self.held == "running":
            seconds = self.seen - self.held_since
            # A moment after its first heartbeat about this request, the number would say nothing.
            known = f" for {seconds:.0f} s" if seconds >= 1 else ""
            return f"; by its last heartbeat, the data owner worked on it{known}"
        if self.held and self.is_behind:
            return "; the data owner is busy with an earlier message"
        return "; the data owner has received the message" if self.held else ""

    def note_life(self, now: float) -> None:
        """Note a heartbeat that names this request, or a new part of its reply."""
        self.seen = self.checked = now
        self.silent, self.due_since = 0.0, math.inf

    def note_look(self, now: float, *, most: float) -> None:
        """Count the silence since the last look. Of a longer pause, ``most`` seconds count: this process did not look."""
        self.silent += min(max(0.0, now - self.checked), most)
        self.checked = now

    @property
    def has_outcome(self) -> bool:
        """Return whether it has a reply or a failure, which may not be recorded yet."""
        return self.stage in (Stage.ENDED, Stage.DONE)

    @property
    def is_done(self) -> bool:
        return self.stage is Stage.DONE
