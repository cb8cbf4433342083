"""Faults of the apps: they raise, return no usable reply, cannot be loaded, or end their process."""

import contextlib
from collections.abc import Callable

import pytest
from faultkit.app import server_app
from faultkit.federation import make_context, reason_of
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from recordkit.examining import ALL_WELL, CLIENT_GONE, WELL, Found
from recordkit.expected import (
    ASKED,
    BEGUN,
    OWNER,
    REPLIED,
    SERVED,
    N,
    Name,
    answered,
    closed,
    ended,
    failed,
    received,
    released,
    released_error,
    sent,
    started,
    warned,
)
from recordkit.scene import Fault, Inject, Scene
from recordkit.status import NORMAL, lost, refusing, shows

from syft_flwr.fl_orchestrator import syftbox_flwr_server

interrupted_app = ServerApp()
_PROJECT = """
[project]
name = "faults"
version = "0.0.0"

[tool.flwr.app.components]
serverapp = "faultkit.app:server_app"
clientapp = "later_broken_app:client_app"
"""


@interrupted_app.main()
def be_interrupted(grid: Grid, context: Context) -> None:
    raise KeyboardInterrupt


def no_fault(scene: Scene) -> None:
    scene.federation.start()
    scene.federation.assert_served()


def app_does(behaviour: str) -> Inject:
    """Return the fault of an app that behaves so for one message, and replies to the next one."""

    def inject(scene: Scene) -> None:
        scene.federation.start()
        assert reason_of(scene.ask(behaviour))
        scene.federation.assert_served()

    return inject


def app_cannot_be_loaded(scene: Scene) -> None:
    """Let the app break after the client has started, and end its worker. The next message loads the app again."""
    module = scene.folder / "later_broken_app.py"
    module.write_text("from faultkit.app import client_app\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(scene.folder)
        scene.federation.start()
        scene.federation.assert_served()
        module.write_text("import no_such_module\n")
        assert reason_of(scene.ask("be_killed"))
        assert reason_of(scene.ask())
        (scene.folder / "pyproject.toml").write_text(_PROJECT)
        scene.examine(OWNER, project=scene.folder)


def serve(app: ServerApp, *expected: type[BaseException]) -> Callable[[Scene], None]:
    """Return the fault of this ServerApp. It ends the data owner, too."""

    def inject(scene: Scene) -> None:
        scene.owner.start()
        federation = scene.federation
        with contextlib.suppress(*expected):
            syftbox_flwr_server(
                app, make_context(scene.owner.journal), [OWNER], federation.app, client=federation.participant
            )
        scene.owner.join()

    return inject


def _row(name: str, behaviour: str, reason: str, text: str, *covers: str, over: str = "memory") -> Fault:
    # The text of an exception may be private, so both sides get a reference to the data owner's log.
    more = {"reference": Name("reference")} if reason == "app-raised" else {}
    return Fault(
        name=name,
        inject=app_does(behaviour),
        aggregator=(BEGUN, sent(), failed(reason, text, **more), sent(N), answered(N), ended()),
        data_owner=(
            SERVED,
            received(),
            started(),
            released_error(reason, text, **more),
            received(N),
            started(N),
            released(N),
            closed(N),
            ended(),
        ),
        covers=covers or ("faults/test_bad_apps.py",),
        # An app that fails is no matter of the doctor: the reason is in the status of both sides.
        status=(
            lost(f"{reason}: ", text, after="1 of 2", state="completed"),
            refusing(f"{reason}: ", text, after="1 of 2", state="completed"),
        ),
        doctor=ALL_WELL,
        over=over,
        still=over != "workers",
    )


FAULTS = [
    Fault(
        "no fault",
        no_fault,
        ASKED,
        REPLIED,
        ["faults/test_footprint.py", "faults/test_real_time.py"],
        status=NORMAL,
        doctor=ALL_WELL,
    ),
    Fault(
        "no fault over SyftBox",
        no_fault,
        ASKED,
        REPLIED,
        ["faults/test_real_time.py", "faults/test_any_synced_order.py"],
        over="synced",
        status=NORMAL,
        doctor=ALL_WELL,
    ),
    _row("the app raises", "raise_error", "app-raised", "the ClientApp raised ValueError"),
    _row("the app raises after it changed its state", "spoil_the_state", "app-raised", "ValueError"),
    _row("the app returns nothing", "return_nothing", "app-raised", "returned NoneType instead of a Message"),
    _row("the app returns records", "return_records", "app-raised", "returned RecordDict instead of a Message"),
    _row("the app returns an error", "return_an_error", "app-error", "the data is too small"),
    _row(
        "the worker dies",
        "be_killed",
        "worker-died",
        "signal SIGKILL",
        "faults/test_bad_apps.py",
        "faults/test_worker_process.py",
        "faults/test_forged_frames.py",
        "faults/test_worker_command.py",
        "faults/test_worker_life.py",
        over="workers",
    ),
    Fault(
        "the app cannot be loaded",
        app_cannot_be_loaded,
        (BEGUN, sent(), answered(), failed("app-load", "no_such_module", N), ended()),
        (
            SERVED,
            received(),
            released(),
            started(N),
            released_error("app-load", "no_such_module", N),
            closed(N),
            ended(),
        ),
        ["faults/test_bad_apps.py", "faults/test_bad_records.py"],
        over="workers",
        app="later_broken_app:client_app",
        still=False,
        status=(
            shows(
                "query request sent",
                ("| 1 of 2 | 1: app-load |", "app-load: the ClientApp cannot be loaded"),
                after=(": completed", "| 1 of 3 | 2: app-load"),
            ),
            shows(
                "query runs",
                ("| 1 of 2 | 1: app-load |", "app-load: the ClientApp cannot be loaded"),
                after=(": completed", "| 1 of 3 | 2: app-load"),
            ),
        ),
        doctor=(WELL, [Found("app", "later_broken_app:client_app in")]),
    ),
    Fault(
        "the ServerApp raises",
        serve(server_app),
        (BEGUN, warned("the ServerApp raised RuntimeError", "error"), ended("failed", "RuntimeError")),
        (SERVED, received(kind="system"), ended("failed", "the run failed at its aggregator")),
        ["faults/test_bad_apps.py", "faults/test_killed.py", "faults/test_outcomes.py"],
        ends=("failed", "failed"),
        status=(
            shows(": running", after=(": failed after", "(the ServerApp raised RuntimeError)")),
            shows(after=(": failed after", "(the run failed at its aggregator)")),
        ),
        doctor=CLIENT_GONE,
    ),
    Fault(
        "Ctrl-C at the server",
        serve(interrupted_app, KeyboardInterrupt),
        (BEGUN, ended("stopped", "interrupted")),
        (SERVED, received(kind="system"), ended("stopped", "its aggregator was stopped")),
        ["faults/test_inherited_signals.py"],
        ends=("stopped", "stopped"),
        status=(
            shows(": running", after=(": stopped after", "(interrupted)")),
            shows(after=(": stopped after", "(its aggregator was stopped)")),
        ),
        doctor=CLIENT_GONE,
    ),
]
