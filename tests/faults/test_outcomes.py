"""The outcome of real runs: each cell of the table of outcomes, for the Message API, the legacy API and an own loop.

Every surface must agree: the result in Python, the last line of the log, the record of both sides, and the database.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faultkit import apis
from faultkit.federation import AGGREGATOR, OWNERS, Federation
from faultkit.storage import MemoryStorage
from flwr.app import ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from waiting import eventually

from syft_flwr._messaging.answering import Request, Responder
from syft_flwr._messaging.wire import Body
from syft_flwr._messaging.wire.body import failure
from syft_flwr._messaging.wire.reasons import OF_AGGREGATOR, Reason
from syft_flwr.cli.run_account import fields_of_run
from syft_flwr.errors import RunError
from syft_flwr.fl_orchestrator import syftbox_flwr_server
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.finding import find_run
from syft_flwr.runs.listing import runs_of
from syft_flwr.runs.recorded_run import RecordedRun

ONE, TWO = OWNERS
#: Whether a data owner fails, by data owner and kind: always, never, or in the first round only.
Plan = dict[tuple[str, str], str]
ALL_BAD: Plan = {(owner, kind): "always" for owner in OWNERS for kind in ("train", "evaluate")}
TRAIN_BAD: Plan = {(owner, "train"): "always" for owner in OWNERS}
ONE_BAD: Plan = {(ONE, "train"): "always"}
FIRST_BAD: Plan = {(ONE, "train"): "first", (TWO, "evaluate"): "first"}


class Faults:
    """Decides which call of an app fails."""

    def __init__(self, owner: str, plan: Plan) -> None:
        self.owner = owner
        self._plan = plan
        self._calls: dict[str, int] = {}

    def meet(self, kind: str) -> None:
        self._calls[kind] = self._calls.get(kind, 0) + 1
        when = self._plan.get((self.owner, kind), "never")
        if when == "always" or (when == "first" and self._calls[kind] == 1):
            raise NameError("model")


def message_client(faults: Faults) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        faults.meet("train")
        metrics = MetricRecord({"loss": 0.5, "num-examples": 1})
        return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        faults.meet("evaluate")
        metrics = MetricRecord({"accuracy": 0.75, "num-examples": 1})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    @app.query("late")
    def refuse(message: Message, context: Context) -> Message:
        return Message(Error(code=7, reason="too few patients"), reply_to=message)

    return app


class Slow(Faults):
    """Nothing fails, but the first training of one data owner lasts until its round is closed."""

    def __init__(self, faults: Faults, closed: threading.Event) -> None:
        super().__init__(faults.owner, {})
        self._closed = closed

    def meet(self, kind: str) -> None:
        if (self.owner, kind) == (TWO, "train"):
            assert self._closed.wait(30)


class OldClient(NumPyClient):
    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        self._faults.meet("train")
        return parameters, 1, {}

    def evaluate(self, parameters: list[Any], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        self._faults.meet("evaluate")
        return 0.5, 1, {}

    def get_parameters(self, config: dict[str, Any]) -> list[Any]:
        return [np.zeros(2)]


def legacy_client(faults: Faults) -> ClientApp:
    return ClientApp(client_fn=lambda _: OldClient(faults).to_client())


def message_server(grid: Grid, context: Context) -> None:
    FedAvg(min_available_nodes=2).start(grid, ArrayRecord([np.zeros(2)]), num_rounds=2)


def own_loop(grid: Grid, context: Context) -> None:
    for number in (1, 2):
        for kind in ("train", "evaluate"):
            content = RecordDict({"arrays": ArrayRecord([np.zeros(2)])})
            messages = [Message(content, node, kind, group_id=str(number)) for node in grid.get_node_ids()]
            waiting = set(grid.push_messages(messages))

            def pull(waiting: set[str] = waiting) -> bool:
                waiting -= {reply.metadata.reply_to_message_id for reply in grid.pull_messages(list(waiting))}
                return not waiting

            eventually(pull, "all replies")


def server_of(main: Callable[[Grid, Context], None]) -> ServerApp:
    app = ServerApp()
    app.main()(main)
    return app


def legacy_server() -> ServerApp:
    def server_fn(_: Context) -> ServerAppComponents:
        return ServerAppComponents(strategy=LegacyFedAvg(), config=ServerConfig(num_rounds=2))

    return ServerApp(server_fn=server_fn)


APIS: dict[str, tuple[Callable[[], ServerApp], Callable[[Faults], ClientApp]]] = {
    "message": (lambda: server_of(message_server), message_client),
    "legacy": (legacy_server, legacy_client),
    "loop": (lambda: server_of(own_loop), message_client),
}


class Runs:
    """Runs federations in memory, and reads each surface that tells their outcomes."""

    def __init__(self, root: Path, logged: list[str]) -> None:
        self._root = root
        self._logged = logged

    def run(
        self,
        api: str,
        plan: Plan | None = None,
        *,
        server: ServerApp | None = None,
        make_client: Callable[[Faults], ClientApp] | None = None,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> tuple[RecordedRun, list[RecordedRun]]:
        """Run a federation. Return the run as its aggregator and as each data owner recorded it."""
        make_server, usual_client = APIS[api]
        with Federation(self._root, MemoryStorage(), options={AGGREGATOR: settings or {}}) as federation:
            for email in OWNERS:
                federation[email].client_app = (make_client or usual_client)(Faults(email, plan or {}))
                federation[email].start()
            context = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
            try:
                returned = syftbox_flwr_server(
                    server or make_server(), context, OWNERS, federation.app, client=federation.participant, **options
                )
                assert returned is context
            finally:
                for email in OWNERS:
                    federation[email].join()
            found = find_run(federation.participant.settings, context.run_id)
            owners = [find_run(federation[email].participant.settings, context.run_id) for email in OWNERS]
        self.check_surfaces(found, owners)
        return found, owners

    def check_surfaces(self, found: RecordedRun, owners: list[RecordedRun]) -> None:
        """Check that the record, the last line and the data owners agree with the database."""
        (ended,) = [entry for entry in found.events() if entry.event == "run-ended"]
        assert ended.fields["state"] == found.state
        assert ended.fields.get("losses", []) == [loss.as_fields() for loss in found.losses]
        assert found.failed == sum(loss.count for loss in found.losses)
        assert [owner.state for owner in owners] == [found.state] * len(OWNERS)
        assert bool(found) is (found.state == "completed" and not found.refusal)
        assert ended.fields.get("cause", "") == (found.cause or found.refusal)
        verb = {"completed": "was completed", "failed": f"failed: {found.cause}", "stopped": "was stopped"}[found.state]
        # A data owner of a late request can log a line after it.
        assert any(f"run {found.run_id} (faults) {verb}" in line for line in self._logged)


@pytest.fixture
def runs(tmp_path: Path, logged: list[str]) -> Runs:
    return Runs(tmp_path / "homes", logged)


def losses_of(run: RecordedRun) -> set[tuple[str, str, str, int, int]]:
    return {(each.data_owner, each.kind, each.reason, each.count, each.answered) for each in run.losses}


@pytest.mark.parametrize("api", APIS)
def test_good_run_is_completed_without_losses(runs: Runs, api: str) -> None:
    found, _ = runs.run(api, raise_on_error=True, strict=True)

    assert (found.state, found.cause, found.losses) == ("completed", "", ())


@pytest.mark.parametrize("is_shown", [True, False])
def test_display_tells_the_run_unless_it_is_off(runs: Runs, is_shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = runs.run("message", FIRST_BAD, display=is_shown)

    headline = f"Run {found.run_id} of faults, aggregator {AGGREGATOR}: completed, with losses after"
    lines = [line for line in capsys.readouterr().err.splitlines() if headline in line and ", round 2 of 2" in line]
    assert len(lines) == is_shown
    assert all(f"{ONE}: 1 failed" in line and "evaluate (round 2): accuracy 0.75" in line for line in lines)


@pytest.mark.parametrize("api", APIS)
def test_data_owner_knows_the_round_before_its_reply(runs: Runs, api: str) -> None:
    _, owners = runs.run(api)

    for owner in owners:
        received = [entry.fields for entry in owner.events() if entry.event == "request-received"]
        rounds = [fields["round"] for fields in received if fields["kind"] != "system" and "round" in fields]
        assert rounds == ["1", "1", "2", "2"]


@pytest.mark.parametrize("api", APIS)
def test_late_reply_of_a_closed_round_is_no_loss(runs: Runs, api: str) -> None:
    closed = threading.Event()

    def note(entry: RecordEntry) -> None:
        if entry.event == "request-ended" and entry.fields.get("reason") == "late":
            closed.set()

    found, _ = runs.run(
        api,
        make_client=lambda faults: APIS[api][1](Slow(faults, closed)),
        settings={"min_replies": 0.5, "grace": 0.1},
        raise_on_error=True,
        strict=True,
        on_event=note,
    )

    assert closed.is_set()
    assert (found.state, found.cause, found.losses) == ("completed", "", ())


@pytest.mark.parametrize("api", APIS)
def test_losses_are_named_in_a_completed_run(runs: Runs, logged: list[str], api: str) -> None:
    found, _ = runs.run(api, FIRST_BAD, raise_on_error=True)

    assert (found.state, found.cause) == ("completed", "")
    assert losses_of(found) == {(ONE, "train", "app-raised", 1, 1), (TWO, "evaluate", "app-raised", 1, 1)}
    assert f"with losses: {ONE}: 1 train app-raised; {TWO}: 1 evaluate app-raised" in logged[-1]


@pytest.mark.parametrize("api", APIS)
def test_strict_run_with_losses_raises(runs: Runs, api: str) -> None:
    with pytest.raises(RunError, match=f"strict is set, and there were losses: {ONE}: 1 train app-raised"):
        runs.run(api, FIRST_BAD, raise_on_error=True, strict=True)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("plan", [FIRST_BAD, ONE_BAD], ids=["first", "one"])
def test_strict_run_with_losses_is_recorded_as_false(runs: Runs, tmp_path: Path, api: str, plan: Plan) -> None:
    found, owners = runs.run(api, plan, strict=True)

    assert (found.state, found.cause, bool(found)) == ("completed", "", False)
    assert found.refusal.startswith(f"strict is set, and there were losses: {ONE}: ")
    assert all(owners)
    fields = fields_of_run(found)
    assert (fields["state"], fields["succeeded"], fields["cause"]) == ("completed", False, found.refusal)
    listed = {run.role: run for run in runs_of(found.paths.home)[0]}
    assert listed["aggregator"].as_fields()["succeeded"] is False
    assert "completed, but counts as a failure" in listed["aggregator"].as_row()


@pytest.mark.parametrize("api", APIS)
def test_silent_owner_is_named_in_a_completed_run(runs: Runs, logged: list[str], api: str) -> None:
    found, _ = runs.run(api, ONE_BAD, raise_on_error=True)

    assert found.state == "completed"
    assert losses_of(found) == {(ONE, "train", "app-raised", 2, 0)}
    assert f"{ONE}: 2 train app-raised, and no good reply" in logged[-1]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("plan", [ALL_BAD, TRAIN_BAD], ids=["everything", "train"])
def test_kind_without_a_good_reply_fails(runs: Runs, api: str, plan: Plan) -> None:
    found, owners = runs.run(api, plan)

    assert found.state == "failed"
    assert "no good reply to" in found.cause
    assert {(owner, "train", "app-raised", 2, 0) for owner in OWNERS} <= losses_of(found)
    assert [owner.cause for owner in owners] == ["the run failed at its aggregator"] * 2


@pytest.mark.parametrize("api", APIS)
def test_failed_kind_raises_if_asked_to(runs: Runs, api: str) -> None:
    with pytest.raises(RunError, match=r"failed: no good reply to .*train"):
        runs.run(api, TRAIN_BAD, raise_on_error=True)


def test_client_without_evaluate_is_a_loss_of_the_legacy_api(runs: Runs) -> None:
    class OnlyFit(NumPyClient):
        def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
            return [np.zeros(2)], 1, {}

        def get_parameters(self, config: dict[str, Any]) -> list[Any]:
            return [np.zeros(2)]

    def without(_: Faults) -> ClientApp:
        return ClientApp(client_fn=lambda _: OnlyFit().to_client())

    found, _ = runs.run("legacy", make_client=without)

    assert found.state == "failed"
    assert losses_of(found) == {(owner, "evaluate", "app-error", 2, 0) for owner in OWNERS}
    assert "does not implement `evaluate`" in found.failures[0].text


def exiting(api: str, end: BaseException) -> ServerApp:
    """Return a ServerApp that asks its data owners, and then ends with an exception."""

    class Ending(FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            list(replies)
            raise end

    class LegacyEnding(LegacyFedAvg):
        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            raise end

    def loop_and_end(grid: Grid, context: Context) -> None:
        own_loop(grid, context)
        raise end

    if api == "message":
        strategy = Ending(min_available_nodes=2)
        return server_of(lambda grid, _: strategy.start(grid, ArrayRecord([np.zeros(2)]), num_rounds=1))
    if api == "loop":
        return server_of(loop_and_end)
    legacy = LegacyEnding(fraction_evaluate=0.0)
    return ServerApp(server_fn=lambda _: ServerAppComponents(strategy=legacy, config=ServerConfig(num_rounds=1)))


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("end", "state", "cause"),
    [
        (SystemExit(0), "completed", ""),
        (SystemExit(None), "completed", ""),
        (SystemExit(3), "failed", "the ServerApp ended itself with exit code 3"),
        (SystemExit("diverged"), "failed", "the ServerApp ended itself: diverged"),
        (ValueError("secret"), "failed", "the ServerApp raised ValueError"),
    ],
    ids=repr,
)
def test_end_of_the_server_app_is_told_everywhere(
    runs: Runs, api: str, end: BaseException, state: str, cause: str
) -> None:
    found, owners = runs.run(api, server=exiting(api, end))

    assert (found.state, found.cause) == (state, cause)
    assert {owner.cause for owner in owners} == {"" if state == "completed" else "the run failed at its aggregator"}


@pytest.mark.parametrize(
    ("end", "text"),
    [
        (SystemExit(3), "failed: the ServerApp ended itself with exit code 3"),
        (SystemExit("diverged"), "failed: the ServerApp ended itself: diverged"),
        (ValueError("secret"), "the ServerApp raised ValueError: secret"),
    ],
    ids=repr,
)
def test_failed_server_app_raises_if_asked_to(runs: Runs, end: BaseException, text: str) -> None:
    with pytest.raises(RunError, match=text) as caught:
        runs.run("message", server=exiting("message", end), raise_on_error=True)

    assert caught.value.__cause__ is end


def ask_nothing(api: str) -> ServerApp:
    if api == "message":
        return server_of(lambda grid, _: FedAvg().start(grid, ArrayRecord([np.zeros(2)]), num_rounds=0))
    if api == "loop":
        return server_of(lambda grid, _: None)
    strategy = LegacyFedAvg(initial_parameters=ndarrays_to_parameters([np.zeros(2)]))
    return ServerApp(server_fn=lambda _: ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=0)))


@pytest.mark.parametrize("api", APIS)
def test_run_without_a_request_is_completed(runs: Runs, api: str) -> None:
    found, _ = runs.run(api, server=ask_nothing(api), raise_on_error=True, strict=True)

    assert (found.state, found.asked) == ("completed", 0)


def test_requests_the_app_left_open_are_no_losses(runs: Runs) -> None:
    """The app of each data owner still runs when the ServerApp returns; its failure comes too late to count."""
    asked, over = threading.Barrier(3), threading.Event()

    def slow_client(faults: Faults) -> ClientApp:
        app = message_client(faults)

        @app.query("slow")
        def wait(message: Message, context: Context) -> Message:
            asked.wait(30)
            assert over.wait(30)
            raise ValueError("too late")

        return app

    def leave(grid: Grid, context: Context) -> None:
        grid.push_messages([Message(RecordDict(), node, "query.slow") for node in grid.get_node_ids()])
        asked.wait(30)

    def note(entry: RecordEntry) -> None:
        if entry.event == "run-ended":
            over.set()

    options = {"make_client": slow_client, "on_event": note}
    found, _ = runs.run("message", server=server_of(leave), **options)

    assert (found.asked, found.failed, found.losses) == (2, 0, ())
    assert (found.state, found.cause) == ("failed", "the ServerApp ended without one reply to its query.slow requests")


@pytest.mark.parametrize("code", sorted(OF_AGGREGATOR))
def test_data_owner_cannot_choose_that_it_does_not_count(
    runs: Runs, code: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data owner answers each message with a reason that only the aggregator may decide."""
    answer = Responder.answer

    def dodge(responder: Responder, request: Request, body: Body, **more: Any) -> bool:
        return answer(responder, request, failure(code, "no"), **more)

    monkeypatch.setattr(Responder, "answer", dodge)

    found, _ = runs.run("message")

    assert found.state == "failed"
    assert {loss.reason for loss in found.losses} == {"refused"}


def test_arrived_replies_count_without_a_pull(runs: Runs) -> None:
    def leave(grid: Any, context: Context) -> None:
        ids = grid.push_messages([Message(RecordDict(), node, "query.late") for node in grid.get_node_ids()])
        eventually(lambda: len(grid._caller.uncollected(grid.run.run_id, control="system")) == len(ids), "the replies")

    found, _ = runs.run("message", server=server_of(leave))

    assert found.state == "failed"
    assert losses_of(found) == {(owner, "query.late", "app-error", 1, 0) for owner in OWNERS}


@pytest.mark.parametrize("api", apis.APIS)
def test_failure_is_told_while_another_owner_is_awaited(tmp_path: Path, logged: list[str], api: str) -> None:
    with Federation(tmp_path / "homes", MemoryStorage()) as federation:
        federation.start()
        run = federation.grid.run.run_id if federation.grid else 0
        plan = {ONE: "raise_error", TWO: "answer_at_the_gate"}
        asking = apis.Asking(apis.APIS[api], federation, plan, OWNERS)
        for email in OWNERS:
            eventually(lambda email=email: federation[email].journal.calls, f"a call of {email}")
        began = time.monotonic()
        (failing,) = [call["message"] for call in federation[ONE].journal.calls]

        def ends() -> dict[str, str]:
            entries = find_run(federation.participant.settings, run).events()
            found = [entry.fields for entry in entries if entry.event == "request-ended"]
            return {fields["message"]: fields.get("reason", "") for fields in found if fields["kind"] != "system"}

        eventually(lambda: failing in ends(), "the failure in the record")
        assert time.monotonic() - began < 2
        (line,) = [line for line in logged if f"{ONE} has failed in query" in line]
        assert "app-raised: the ClientApp raised ValueError" in line
        assert ends() == {failing: "app-raised"}
        assert not asking.is_done
        federation[TWO].journal.open_gate()
        failed, good = asking.result().values()
        assert "app-raised" in failed
        assert good == "good"


@pytest.mark.parametrize(
    ("behaviour", "error", "cause"),
    [
        ("answer", None, ""),
        ("raise_error", None, "the run failed at its aggregator"),
        # The error of the program is on its way out.
        ("answer", ValueError("of the program"), "the run failed at its aggregator"),
        ("answer", KeyboardInterrupt(), "its aggregator was stopped"),
        ("raise_error", KeyboardInterrupt(), "its aggregator was stopped"),
    ],
    ids=repr,
)
def test_stop_of_a_program_with_its_own_grid_tells_the_outcome(
    tmp_path: Path, behaviour: str, error: BaseException | None, cause: str
) -> None:
    def train(federation: Federation) -> None:
        assert federation.grid
        with federation.grid as grid:
            try:
                federation.ask(behaviour)
                if error:
                    raise error
            finally:
                grid.send_stop_signal()

    with Federation(tmp_path / "homes", MemoryStorage()) as federation:
        federation.start()
        run = federation.grid.run.run_id if federation.grid else 0
        with contextlib.suppress(ValueError, KeyboardInterrupt):
            train(federation)
        for email in OWNERS:
            federation[email].join()
        found = find_run(federation.participant.settings, run)
        owners = [find_run(federation[email].participant.settings, run) for email in OWNERS]

    assert [owner.cause for owner in owners] == [cause] * len(OWNERS)
    assert {found.state, *(owner.state for owner in owners)} == {found.state}
