"""``futures.db``: the runs of the aggregator, the requests that it sent, and their replies."""

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from syft_flwr._store import run_table
from syft_flwr._store.database import Database
from syft_flwr._store.envelopes import TABLE, Kind, column_of, delete_envelopes, envelope_of, moved_from, put_envelope
from syft_flwr._store.run_table import RESUMABLE, RunRow, Runs
from syft_flwr._store.states import FUTURE_ARROWS, Future, before

_SCHEMA = (
    """
    CREATE TABLE futures (
        id        TEXT PRIMARY KEY,
        run       INTEGER NOT NULL,
        recipient TEXT NOT NULL,
        type      TEXT NOT NULL,
        round     TEXT NOT NULL,
        state     TEXT NOT NULL,
        created   TEXT NOT NULL,
        expires   TEXT NOT NULL,
        reason    TEXT NOT NULL DEFAULT '',
        request   BLOB,
        response  BLOB
    ) STRICT;
    CREATE INDEX futures_by_run ON futures (run, state)
    """,
    # These columns make a run resumable: the digest of each request, and its outcome.
    """
    ALTER TABLE futures ADD COLUMN group_id  TEXT NOT NULL DEFAULT '';
    ALTER TABLE futures ADD COLUMN content   TEXT NOT NULL DEFAULT '';
    ALTER TABLE futures ADD COLUMN digest    TEXT NOT NULL DEFAULT '';
    ALTER TABLE futures ADD COLUMN objects   TEXT NOT NULL DEFAULT '';
    ALTER TABLE futures ADD COLUMN code      TEXT NOT NULL DEFAULT '';
    ALTER TABLE futures ADD COLUMN reference TEXT NOT NULL DEFAULT ''
    """,
    f"{TABLE}; {moved_from('futures', 'request')}; {moved_from('futures', 'response')}",
    # Earlier releases recorded the states of runs in files. A run with a digest had no orderly end, which drops them.
    # Only the latest run can be resumed: a later run took the place of each other one.
    f"""
    {run_table.TABLE};
    INSERT INTO runs (run, state, started, served)
    SELECT run, 'running', min(created), max(created) FROM futures
    WHERE content <> '' AND run = (SELECT run FROM futures ORDER BY rowid DESC LIMIT 1) GROUP BY run;
    INSERT INTO runs (run, state, cause, started, served, ended)
    SELECT run, 'stopped', 'an earlier release did not record why', min(created), max(created), max(created)
    FROM futures WHERE content <> '' AND run <> (SELECT run FROM futures ORDER BY rowid DESC LIMIT 1) GROUP BY run
    """,  # noqa: S608 - constants
    run_table.ADD_CONFIG,
    # The files of a kept reply can be written by its data owner.
    "ALTER TABLE futures ADD COLUMN kept_digest TEXT NOT NULL DEFAULT ''",
    # The states of the random numbers with which a run began.
    "CREATE TABLE random_states (run INTEGER PRIMARY KEY, states TEXT NOT NULL) STRICT",
)

_INSERT = """
    INSERT INTO futures (id, run, recipient, type, group_id, round, content, state, created, expires, code, reason,
                         digest, objects)
    VALUES (:id, :run, :recipient, :type, :group, :round, :content, :state, :created, :expires, :code, :reason,
            :digest, :objects)
"""
_MOVE = "UPDATE futures SET {columns} WHERE id = ? AND state IN ({states})"
_SET_REQUEST = "UPDATE futures SET digest = ?, objects = ? WHERE id = ? AND state = ?"
_ROWS = f"SELECT *, {column_of('request', 'futures')} FROM futures"  # noqa: S608 - constants
_UNFINISHED = f"{_ROWS} WHERE run <> ? AND state <> ?"
_OF_RUN = f"{_ROWS} WHERE run = ? ORDER BY rowid"
_LATEST_COLLECTED = "SELECT id, recipient FROM futures WHERE state = ? ORDER BY rowid DESC LIMIT ?"
_COLLECTED_AMONG = "SELECT id FROM futures WHERE state = ? AND id IN (SELECT value FROM json_each(?))"
_KNOWN_AMONG = "SELECT id FROM futures WHERE recipient = ? AND id IN (SELECT value FROM json_each(?))"
_RECORDED_RUNS = "SELECT run FROM runs UNION SELECT run FROM futures"
#: The last request of a run also shows that the run was served.
_LAST_REQUEST = "SELECT max(created) AS created FROM futures WHERE run = ?"
_LAST_ROUND = "SELECT round FROM futures WHERE run = ? AND type <> ? ORDER BY rowid DESC LIMIT 1"
_LAST_ANSWERED = """
    SELECT run, type, group_id, created FROM futures
    WHERE recipient = ? AND code = '' AND state IN (?, ?) ORDER BY rowid DESC LIMIT 1
"""
_HAS_REQUEST = "SELECT 1 FROM futures WHERE run = ? AND type = ? AND group_id = ? LIMIT 1"
_REPLIES = """
    SELECT recipient, type, CASE WHEN code = '' AND reason <> '' THEN ? ELSE code END AS why, count(*) AS number
    FROM futures WHERE run = ? AND type <> ? AND state = ? GROUP BY recipient, type, why
"""
_FIRST_FAILURE = """
    SELECT recipient, type, round, CASE code WHEN '' THEN ? ELSE code END, reason, reference FROM futures
    WHERE run = ? AND type <> ? AND code || reason <> '' AND code NOT IN ('late', 'stopped') ORDER BY rowid LIMIT 1
"""
#: The reason of a reply in which the app itself reports an error.
APP_ERROR = "app-error"
_FORGET = "UPDATE futures SET content = '' WHERE run = ?"
_FORGET_ENVELOPES = "DELETE FROM envelopes WHERE id IN (SELECT id FROM futures WHERE run = ?)"
_FORGET_STATES = "DELETE FROM random_states WHERE run = ?"
#: A run that begins again after its end must not draw the same numbers again.
_FORGET_OTHER_STATES = "DELETE FROM random_states WHERE run NOT IN (SELECT run FROM runs WHERE run = ? AND resumed > 0)"
_KEEP_STATES = "INSERT INTO random_states (run, states) VALUES (?, ?) ON CONFLICT DO NOTHING"


@dataclass(frozen=True, slots=True)
class FutureRow:
    """One request of the aggregator."""

    id: str
    run: int
    recipient: str
    type: str
    group: str
    #: The round, or the group if the round has no name. For people only.
    round: str
    #: The digest of the message; empty if a resumed run always sends the message again.
    content: str
    state: Future
    created: datetime
    expires: datetime
    #: The envelope of the request (None before it is sealed and after it is collected), its
    #: SHA-256, and the ids of its objects.
    request: bytes | None = None
    digest: str = ""
    objects: tuple[str, ...] = ()
    #: Why the request failed, and the reference to the details in the log of the data owner.
    code: str = ""
    reason: str = ""
    reference: str = ""
    #: The digest of the objects of the kept reply; empty if it has none, or an older release kept it.
    kept_digest: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a request. An empty ``code`` means that it was answered; ``kept`` keeps the envelope of the reply.

    ``kept_digest`` is that of its objects, with which a second read is compared.

    ``app_error`` is the error that the app put into its reply. It is recorded as a reason without a code.
    """

    code: str = ""
    reason: str = ""
    reference: str = ""
    kept: bool = False
    app_error: str = ""
    kept_digest: str = ""


@dataclass(frozen=True, slots=True)
class ReplyCount:
    """The number of requests of one run to one data owner with the same kind and the same end."""

    data_owner: str
    #: The type of the messages.
    kind: str
    #: Empty for good replies, otherwise a code or :data:`APP_ERROR`.
    reason: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class FirstFailure:
    """The failure of the earliest request that failed."""

    data_owner: str
    #: The type of the message.
    kind: str
    #: The round, or the group if the round has no name.
    round: str
    #: A code or :data:`APP_ERROR`, and the text for people.
    reason: str
    text: str
    #: Points to the details in the log of the data owner; empty if there are none.
    reference: str


class Futures:
    """The rows of ``futures.db``. A state moves only along an arrow of ``states``; other moves change nothing."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._database = Database(path, _SCHEMA, read_only=read_only)
        self.runs = Runs(self._database)

    def interrupted_run(self, now: datetime) -> RunRow | None:
        """Return the latest run that can be resumed: without an end, and served within :data:`RESUMABLE`."""
        for row in reversed(self.runs.unfinished()):
            (last,) = self._database.rows(_LAST_REQUEST, (row.run,))
            sent = datetime.fromisoformat(last["created"]) if last["created"] else row.started
            return row if max(sent, row.served or row.started) > now - RESUMABLE else None
        return None

    def last_round(self, run: int, *, control: str) -> str:
        """Return the round of the latest request of a run; requests of the type ``control`` do not count."""
        rows = self._database.rows(_LAST_ROUND, (run, control))
        return str(rows[0]["round"]) if rows else ""

    def last_run(self, recipient: str, *, control: str, stop: str) -> tuple[int, datetime] | None:
        """Return the run that a data owner left last, and the time of its stop; None if it did not confirm a stop since.

        A stop is a request of the type ``control`` and the group ``stop``. It must be the last request with a reply.
        """
        rows = self._database.rows(_LAST_ANSWERED, (recipient, Future.ANSWERED, Future.COLLECTED))
        if not rows or (rows[0]["type"], rows[0]["group_id"]) != (control, stop):
            return None
        return int(rows[0]["run"]), datetime.fromisoformat(rows[0]["created"]).astimezone(UTC)

    def has_request(self, run: int, kind: str, group: str) -> bool:
        """Return whether a request of this type and group is recorded."""
        return bool(self._database.rows(_HAS_REQUEST, (run, kind, group)))

    def replies(self, run: int, *, control: str) -> list[ReplyCount]:
        """Return the counts of the requests whose outcome the app has, by data owner, type and reason.

        Requests of the type ``control`` do not count. A reply with an error of the app has the reason :data:`APP_ERROR`.
        """
        rows = self._database.rows(_REPLIES, (APP_ERROR, run, control, Future.COLLECTED))
        return [ReplyCount(row["recipient"], row["type"], row["why"], row["number"]) for row in rows]

    def first_failure(self, run: int, *, control: str) -> FirstFailure | None:
        """Return the failure of the earliest request of a run that failed; None if no request failed.

        A request does not count if the aggregator itself did not wait for its reply.
        """
        rows = self._database.rows(_FIRST_FAILURE, (APP_ERROR, run, control))
        return FirstFailure(*rows[0]) if rows else None

    def add(self, rows: Iterable[FutureRow]) -> None:
        """Record new requests in one durable transaction."""
        with self._database.transaction() as connection:
            for row in rows:
                connection.execute(_INSERT, _values(row))
                if row.request:
                    put_envelope(connection, row.id, "request", row.request)

    def set_request(self, message_id: str, request: bytes, *, digest: str, objects: Collection[str]) -> bool:
        """Record the envelope of a request that was sealed later; return False if the request has ended."""
        values = (digest, " ".join(objects), message_id, Future.CREATED)
        with self._database.transaction() as connection:
            recorded = connection.execute(_SET_REQUEST, values).rowcount == 1
            if recorded:
                put_envelope(connection, message_id, "request", request)
            return recorded

    def move(self, ids: Iterable[str], state: Future, *, code: str = "", reason: str = "") -> None:
        """Move requests to ``state``. A request without an arrow to it keeps its state. Not durable."""
        starts = before(FUTURE_ARROWS, state)
        statement = _moving("state = ?, code = ?, reason = ?", starts)
        with self._database.transaction(durable=False) as connection:
            connection.executemany(statement, [(state, code, reason, message_id, *starts) for message_id in ids])

    def answer(self, message_id: str, *, response: bytes) -> bool:
        """Record the envelope of the reply; return False if the request does not wait for one.

        A second record of it succeeds, because a process may crash before it gives the reply to its caller. This is not
        durable: the file of the reply stays in the shared folder until :meth:`collect`, which is durable.
        """
        state = Future.ANSWERED
        starts = (*before(FUTURE_ARROWS, state), state)
        with self._database.transaction(durable=False) as connection:
            recorded = connection.execute(_moving("state = ?", starts), (state, message_id, *starts)).rowcount == 1
            if recorded:
                put_envelope(connection, message_id, "response", response)
            return recorded

    def collect(self, outcomes: Mapping[str, Ended]) -> None:
        """Record the outcome of each request id as collected. Drop the envelopes, except those of kept replies."""
        state = Future.COLLECTED
        starts = before(FUTURE_ARROWS, state)
        statement = _moving("state = ?, code = ?, reason = ?, reference = ?, kept_digest = ?", starts)
        with self._database.transaction() as connection:
            for message_id, ended in outcomes.items():
                reason = ended.reason or ended.app_error
                values = (state, ended.code, reason, ended.reference, ended.kept_digest, message_id, *starts)
                if connection.execute(statement, values).rowcount == 1:
                    dropped: tuple[Kind, ...] = ("request",) if ended.kept else ("request", "response")
                    delete_envelopes(connection, message_id, *dropped)

    def unfinished(self, *, except_run: int) -> list[FutureRow]:
        """Return the requests of all runs except ``except_run`` that were not collected."""
        return [_row(row) for row in self._database.rows(_UNFINISHED, (except_run, Future.COLLECTED))]

    def of_run(self, run: int) -> list[FutureRow]:
        """Return the requests of a run in the order in which they were added."""
        return [_row(row) for row in self._database.rows(_OF_RUN, (run,))]

    def latest_collected(self, recipients: Collection[str], most: int) -> dict[str, list[str]]:
        """Return, by recipient, the ids of at most ``most`` collected requests, latest first.

        It looks only at the latest requests of all recipients together, so that a long history costs no time.
        """
        found: dict[str, list[str]] = {recipient: [] for recipient in recipients}
        for row in self._database.rows(_LATEST_COLLECTED, (Future.COLLECTED, most * len(found))):
            ids = found.get(row["recipient"])
            if ids is not None and len(ids) < most:
                ids.append(row["id"])
        return found

    def collected_among(self, ids: Collection[str]) -> set[str]:
        """Return those of ``ids`` that are collected."""
        return {row["id"] for row in self._database.rows(_COLLECTED_AMONG, (Future.COLLECTED, json.dumps(list(ids))))}

    def known_among(self, ids: Collection[str], recipient: str) -> set[str]:
        """Return those of ``ids`` that are requests to ``recipient``, in any state. No row is ever dropped."""
        return {row["id"] for row in self._database.rows(_KNOWN_AMONG, (recipient, json.dumps(list(ids))))}

    def recorded_runs(self) -> set[int]:
        """Return all runs that this aggregator began, or for which it sent a request."""
        return {row["run"] for row in self._database.rows(_RECORDED_RUNS)}

    def recipients(self) -> list[str]:
        """Return the emails of all data owners that got a request, sorted."""
        return [row["recipient"] for row in self._database.rows("SELECT DISTINCT recipient FROM futures ORDER BY 1")]

    def keep_states(self, run: int, states: str) -> str:
        """Return the recorded states of the random numbers if a run is resumed. Otherwise record ``states``, durably.

        Those of all other runs are deleted: this run took their place.
        """
        with self._database.transaction() as connection:
            connection.execute(_FORGET_OTHER_STATES, (run,))
            connection.execute(_KEEP_STATES, (run, states))
            (kept,) = connection.execute("SELECT states FROM random_states WHERE run = ?", (run,)).fetchone()
            return str(kept)

    def forget(self, run: int) -> None:
        """Drop the envelopes, digests and random numbers of a run that has ended. It cannot be resumed afterwards."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(_FORGET, (run,))
            connection.execute(_FORGET_ENVELOPES, (run,))
            connection.execute(_FORGET_STATES, (run,))

    def request(self, message_id: str) -> bytes | None:
        """Return the envelope of the request; None before it is sealed and after it is collected."""
        return envelope_of(self._database, message_id, "request")

    def response(self, message_id: str) -> bytes | None:
        """Return the envelope of the reply; None if it is not recorded."""
        return envelope_of(self._database, message_id, "response")

    def count_by_state(self, run: int) -> dict[Future, int]:
        """Return how many requests of a run are in each state."""
        rows = self._database.rows("SELECT state, count(*) AS n FROM futures WHERE run = ? GROUP BY state", (run,))
        return {Future(row["state"]): row["n"] for row in rows}

    def close(self) -> None:
        self._database.close()


def _moving(columns: str, starts: Collection[Future]) -> str:
    return _MOVE.format(columns=columns, states=", ".join("?" * len(starts)))


def _values(row: FutureRow) -> dict[str, object]:
    times = {"created": row.created.isoformat(), "expires": row.expires.isoformat()}
    return asdict(row) | times | {"objects": " ".join(row.objects)}


def _row(row: sqlite3.Row) -> FutureRow:
    return FutureRow(
        id=row["id"],
        run=row["run"],
        recipient=row["recipient"],
        type=row["type"],
        group=row["group_id"],
        round=row["round"],
        content=row["content"],
        state=Future(row["state"]),
        created=datetime.fromisoformat(row["created"]).astimezone(UTC),
        expires=datetime.fromisoformat(row["expires"]).astimezone(UTC),
        request=row["request"],
        digest=row["digest"],
        objects=tuple(row["objects"].split()),
        code=row["code"],
        reason=row["reason"],
        reference=row["reference"],
        kept_digest=row["kept_digest"],
    )
