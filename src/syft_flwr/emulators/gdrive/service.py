"""The emulated service: it takes a complete request and returns the response. One lock guards all state."""

import random
import threading
from dataclasses import dataclass
from typing import Any

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive import batch_parts, drive_errors, fields, uploads
from syft_flwr.emulators.gdrive.assumptions import Assumptions
from syft_flwr.emulators.gdrive.calls import Asked, Calls
from syft_flwr.emulators.gdrive.consents import Consents
from syft_flwr.emulators.gdrive.drive_errors import DriveError
from syft_flwr.emulators.gdrive.emulated_drive import EmulatedDrive
from syft_flwr.emulators.gdrive.exchange import ReceivedRequest, Reply, parse_query
from syft_flwr.emulators.gdrive.faults import REFUSING, Call, Fault, FaultTable, refusal
from syft_flwr.emulators.gdrive.grants import Grants
from syft_flwr.emulators.gdrive.identifiers import Identifiers
from syft_flwr.emulators.gdrive.lag import Lag, LagTable
from syft_flwr.emulators.gdrive.metadata import UploadBody, read_upload
from syft_flwr.emulators.gdrive.meters import UNITS, Meters, PartRecord
from syft_flwr.emulators.gdrive.pages import ChangeFeed, FileList
from syft_flwr.emulators.gdrive.quota import Limits, Quota
from syft_flwr.emulators.gdrive.routes import NOT_EMULATED, Route, overridden, route
from syft_flwr.emulators.gdrive.tokens import Tokens, invalid_grant, may_call

_NOT_CALLABLE = frozenset({"", NOT_EMULATED})


@dataclass(slots=True)
class Answered:
    """A response, with a record of each call if the request was a batch."""

    reply: Reply
    parts: tuple[PartRecord, ...] = ()


class Service:
    """The state and the methods behind the HTTP server.

    Attributes:
        lock: guards all attributes. Public methods take it themselves.
    """

    def __init__(self, clock: Clock, seed: int, assumptions: Assumptions) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.limits = Limits()
        self.lag = Lag()
        self.lags = LagTable(seed, lambda: self.lag)
        self.faults = FaultTable(seed)
        self.meters = Meters()
        self.identifiers = Identifiers(seed)
        self.tokens = Tokens(clock, self.identifiers)
        self.consents = Consents(self.identifiers)
        self.quota = Quota(clock, lambda: self.limits)
        self.drive = EmulatedDrive(clock, self.identifiers, self.lags, self.quota, assumptions)
        self.sharing = Grants(self.drive, self.quota)
        self.uploads = uploads.Uploads(clock, self.identifiers)
        listing = FileList(self.drive, self.identifiers, clock)
        feed = ChangeFeed(self.drive, self.faults)
        self._calls = Calls(self.drive, self.sharing, listing, feed, self.uploads, self.quota, self.faults)
        self._random = random.Random(f"batch {seed}")

    def call(self, request: ReceivedRequest, found: Route, part: int | None = None) -> Call:
        """Count a call, and return its description for faults."""
        with self.lock:
            user = self._user(request, found)
            length = request.headers.get("content-length", "")
            return Call(
                user,
                found.method,
                request.http_method,
                request.path,
                found.file_id,
                int(length) if length.isdecimal() else len(request.body),
                part,
                self.faults.number(user, found.method),
            )

    def take(self, call: Call, *kinds: str) -> Fault | None:
        with self.lock:
            return self.faults.take(call, *kinds)

    def answer(self, request: ReceivedRequest, found: Route, call: Call) -> Answered:
        """Return the response to a request; a refusal is a response too."""
        request.query = overridden(request.query, request.headers, request.body)
        if found.method == "token":
            return Answered(self._token(request, call))
        if found.method == "consent":
            with self.lock:
                return Answered(self.consents.ask(request.query))
        with self.lock:
            if call.user:
                self.meters.of(call.user).http += 1
        if found.method == "batch":
            return self._batch(request, call)
        if found.session:
            return Answered(self._session(request, found, call))
        return Answered(self._call(request, found, call))

    def abandon(self, request: ReceivedRequest, found: Route) -> None:
        """Keep the received part of an upload after its connection broke."""
        if not found.session:
            return
        with self.lock:
            try:
                session = self.uploads.get(found.session)
            except DriveError:
                return
        with session.lock:
            before = session.size
            if session.end is None:
                uploads.keep_whole_grains(session, request)
            with self.lock:
                self.meters.of(session.actor.email).bytes_up += session.size - before

    def _user(self, request: ReceivedRequest, found: Route) -> str:
        if found.method == "token":
            owner = self.tokens.owner_of_form(parse_query(request.body.decode("utf-8", "replace")))
            return owner.email if owner else ""
        if found.session:
            try:
                return self.uploads.get(found.session).actor.email
            except DriveError:
                return ""
        owner = self.tokens.owner(request.headers.get("authorization"))
        return owner.email if owner else ""

    def _token(self, request: ReceivedRequest, call: Call) -> Reply:
        form = parse_query(request.body.decode("utf-8", "replace"))
        with self.lock:
            user = self._user(request, route("POST", "/token", {}, {}))
            if user:
                self.meters.of(user).token_requests += 1
            if self.faults.take(call, "invalid_grant"):
                return Reply.of(invalid_grant(), status=400)
            if fault := self.faults.take(call, "error"):
                return Reply.refusal(refusal(fault, self.clock))
            if form.get("grant_type") == "authorization_code":
                actor = self.consents.redeem(form, request.headers.get("authorization", ""))
                return Reply.of(self.tokens.grant(actor)) if actor else Reply.of(invalid_grant(), status=400)
            status, answer = self.tokens.exchange(form)
            return Reply.of(answer, status=status)

    def _batch(self, request: ReceivedRequest, call: Call) -> Answered:
        with self.lock:
            if fault := self.faults.take(call, "error", "rate_limit"):
                return Answered(Reply.refusal(refusal(fault, self.clock)))
            shuffled = self.faults.take(call, "shuffle_batch") is not None
        try:
            calls = list(enumerate(batch_parts.parse(request)))
        except DriveError as error:
            return Answered(Reply.refusal(error))
        if shuffled:
            self._random.shuffle(calls)
        replies, records = [], []
        for number, (content_id, each) in calls:
            found = route(each.http_method, each.path, each.query, each.headers)
            reply = self._part(each, found, number)
            replies.append((content_id, reply))
            records.append(PartRecord(found.method, reply.status, reply.file_id))
        with self.lock:
            boundary = "batch_" + self.identifiers.token()[:40]
        return Answered(batch_parts.render(replies, boundary), tuple(records))

    def _part(self, request: ReceivedRequest, found: Route, number: int) -> Reply:
        if found.method in _NOT_CALLABLE:
            return self._unknown(request, found)
        if found.method not in UNITS or found.upload or found.method == "files.download":
            return Reply.refusal(drive_errors.bad_request())
        return self._call(request, found, self.call(request, found, number))

    def _unknown(self, request: ReceivedRequest, found: Route) -> Reply:
        if found.method == NOT_EMULATED:
            return Reply.refusal(drive_errors.not_emulated(f"{request.http_method} {request.path}"))
        return Reply.refusal(drive_errors.no_such_page(request.path))

    def _call(self, request: ReceivedRequest, found: Route, call: Call) -> Reply:
        if found.method in _NOT_CALLABLE:
            return self._unknown(request, found)
        upload: UploadBody | DriveError = UploadBody()
        if found.method in {"files.create", "files.update"}:
            # Parsed before taking the lock, because digests of large content take long.
            try:
                upload = read_upload(request, found.upload)
            except DriveError as error:
                upload = error
        with self.lock:
            try:
                return self._checked(request, found, call, upload)
            except DriveError as error:
                return Reply.refusal(error, found.file_id)

    def _checked(self, request: ReceivedRequest, found: Route, call: Call, upload: UploadBody | DriveError) -> Reply:
        method = found.method
        meter = self.meters.of(call.user)
        if call.user:
            meter.calls[method] += 1
        fault = self.faults.take(call, *REFUSING)
        if fault and fault.kind == "unauthorized":
            raise drive_errors.bad_token()
        actor = self.tokens.actor(request.headers.get("authorization"), method)
        units = UNITS[method]
        self.quota.charge(actor.email, units)
        meter.units += units
        if fault and not fault.parameters.get("committed"):
            raise refusal(fault, self.clock)
        if not may_call(actor, method):
            raise drive_errors.scope_missing(method)
        mask = fields.wanted(method, request.query)
        if isinstance(upload, DriveError):
            raise upload
        if upload.content:
            meter.bytes_up += len(upload.content.data)
        answer = self._calls.answer(Asked(request, found, actor, call, mask, upload))
        if fault:
            raise refusal(fault, self.clock)
        reply = self._reply(answer, mask, found.file_id)
        meter.bytes_down += reply.media
        return reply

    def _reply(self, answer: dict[str, Any] | Reply, mask: fields.Mask, file_id: str | None) -> Reply:
        if isinstance(answer, Reply):
            answer.file_id = file_id
            return answer
        about = file_id or (answer.get("id") if answer.get("kind") == "drive#file" else None)
        return Reply.of(fields.apply(mask, answer), file_id=about)

    def _session(self, request: ReceivedRequest, found: Route, call: Call) -> Reply:
        with self.lock:
            if call.user:
                self.meters.of(call.user).calls[found.method] += 1
            fault = self.faults.take(call, *REFUSING)
            if fault and not fault.parameters.get("committed"):
                return Reply.refusal(refusal(fault, self.clock))
            try:
                session = self.uploads.get(found.session or "")
            except DriveError as error:
                return Reply.refusal(error)
        with session.lock:
            try:
                reply = self._piece(session, request, found)
            except DriveError as error:
                return Reply.refusal(error)
        return Reply.refusal(refusal(fault, self.clock)) if fault else reply

    def _piece(self, session: uploads.Session, request: ReceivedRequest, found: Route) -> Reply:
        if session.end:
            return session.end
        before = session.size
        if found.method == "upload.status":
            is_last = uploads.is_complete(session, request)
        else:
            is_last = uploads.receive(session, request)
        with self.lock:
            self.meters.of(session.actor.email).bytes_up += session.size - before
            if not is_last:
                return uploads.status(session)
            try:
                session.end = self._publish(session)
            except DriveError as error:
                session.end = Reply.refusal(error)
        session.pieces.clear()
        return session.end

    def _publish(self, session: uploads.Session) -> Reply:
        upload = UploadBody(dict(session.said), session.content(), session.media_type)
        begun = session.route
        mask = fields.wanted(begun.method, session.query)
        if begun.file_id:
            answer = self._calls.update(session.actor, begun.file_id, upload, session.query, mask)
        else:
            answer = self._calls.create(session.actor, upload, mask)
        return self._reply(answer, mask, begun.file_id)
