"""Faults of processes and runs: kills, interruptions, resumes, stops that are lost or come early, and several runs."""

import os
import signal
from collections.abc import Callable, Sequence
from unittest.mock import patch

import pytest
from faultkit.federation import AGGREGATOR, Federation, answer_of, passing_time, reason_of
from recordkit.examining import ALL_WELL, CLIENT_GONE, WELL, Found
from recordkit.expected import (
    ASKED,
    BEGUN,
    OWNER,
    REPLIED,
    RESUMED,
    SERVED,
    SERVED_AGAIN,
    Expected,
    M,
    N,
    answered,
    closed,
    ended,
    event,
    failed,
    received,
    released,
    released_error,
    sent,
    started,
)
from recordkit.scene import RUN, Fault, Scene
from recordkit.status import ASKING, NORMAL, REPLYING, lost, refusing, shows
from waiting import PATIENCE, eventually

from syft_flwr.fl_orchestrator.worker_process import InProcess

_RESUME = "faults/resume/"


def owner_is_interrupted(scene: Scene) -> None:
    """End the client as Ctrl-C does while the app works, and start it again."""
    scene.federation.start()
    message_id = scene.push("interrupt_the_first_time")
    with pytest.raises(KeyboardInterrupt):
        scene.owner.join()
    scene.look(OWNER)
    scene.examine()
    scene.owner.start()
    assert answer_of(scene.pull(message_id))


def owner_is_killed(scene: Scene) -> None:
    """Kill the client in training. Kill the next one, too, after its reply, which the third one writes again."""
    machine = scene.machine(OWNER)
    machine.start()
    scene.federation.begin_run()
    message_id = scene.push("never_end_the_first_time")
    machine.journal.wait_for_call(message_id)
    scene.wait_for_events(OWNER, "datasite", "request-started", 1)
    machine.kill()
    scene.look(OWNER)
    scene.examine(AGGREGATOR, later=3600)
    scene.examine(OWNER)
    scene.federation.spy.hidden = (".response",)
    machine.start()
    response = scene.federation.response_name(OWNER, message_id)
    true = eventually(lambda: scene.storage.read(response), "the reply")
    scene.wait_for_events(OWNER, "datasite", "request-started", 2)
    machine.kill()
    scene.storage.path(response).unlink()
    starts = machine.log.read_text().count(" serves ")
    machine.start()
    eventually(lambda: scene.storage.read(response) == true, "the same reply")
    # A stop that arrives during the start of a client does not end it.
    eventually(lambda: machine.log.read_text().count(" serves ") > starts, "the start of the third client")
    scene.federation.spy.hidden = ()
    assert answer_of(scene.pull(message_id))
    scene.grid.send_stop_signal()
    scene.federation.close_grid()
    assert machine.process is not None
    assert machine.process.wait(PATIENCE) == 0


def message_kills_its_client(scene: Scene) -> None:
    """Let the client end by a lack of memory on one message, three times. It then serves the next message."""
    scene.federation.introduce()
    scene.federation.begin_run()
    message_id = scene.push()
    with patch.object(InProcess, "run", side_effect=MemoryError):
        for _ in range(3):
            scene.owner.start()
            with pytest.raises(MemoryError):
                scene.owner.join()
    scene.owner.start()
    assert "worker-died" in reason_of(scene.pull(message_id))
    assert answer_of(scene.pull(scene.push()))


def server_is_killed(scene: Scene) -> None:
    """Kill the server in its second round, and start it again. It replays the first round, and completes the second."""
    machine = scene.machine(AGGREGATOR, server_app="asking_server_app", owners=[OWNER])
    scene.owner.start()
    machine.start("server", str(machine.project))
    eventually(lambda: len(scene.owner.journal.calls) == 2, "the second round")
    scene.wait_for_events(AGGREGATOR, "aggregator", "request-sent", 2)
    # First, the process stands still, as on a machine that sleeps.
    machine.process.send_signal(signal.SIGSTOP)
    scene.look(AGGREGATOR, later=30)
    scene.examine()
    machine.kill()
    scene.look(AGGREGATOR)
    process = machine.start("server", str(machine.project))
    scene.owner.journal.open_gate()
    assert process.wait(PATIENCE) == 0, machine.log.read_text()
    scene.owner.join()


def server_is_abandoned(during: Callable[[Scene], str], after: Callable[[Scene, str], None]) -> Callable[[Scene], None]:
    """Return the fault of an aggregator that ends like a killed process, and resumes its run."""

    def inject(scene: Scene) -> None:
        scene.federation.start()
        message_id = during(scene)
        scene.abandon()
        scene.look(AGGREGATOR)
        scene.federation.begin_run(RUN)
        after(scene, message_id)

    return inject


def reply_is_open(scene: Scene) -> str:
    return scene.push_to_the_gate()


def reply_was_collected(scene: Scene) -> str:
    message_id = scene.push()
    assert answer_of(scene.pull(message_id))
    return message_id


def failure_was_collected(scene: Scene) -> str:
    message_id = scene.push("raise_error")
    assert reason_of(scene.pull(message_id))
    return message_id


def reply_was_received(scene: Scene) -> str:
    message_id = scene.push()
    scene.federation.wait_until_received(1)
    return message_id


def large_request_is_open(scene: Scene) -> str:
    message_id = scene.push("answer_large_at_the_gate")
    scene.owner.journal.wait_for_call(message_id)
    return message_id


def repeat(behaviour: str) -> Callable[[Scene, str], None]:
    """Return the step of a resumed ServerApp, which sends the same message again and gets its one outcome."""

    def again(scene: Scene, message_id: str) -> None:
        scene.owner.journal.open_gate()
        assert scene.push(behaviour) == message_id
        assert scene.pull(message_id)
        assert len(scene.owner.journal.calls_of(message_id)) == 1

    return again


def another_run_takes_its_place(scene: Scene) -> None:
    """Begin another run after a kill: the first one is stopped, and its open request withdrawn."""
    scene.federation.start()
    scene.push_to_the_gate()
    scene.abandon()
    scene.look(AGGREGATOR)
    scene.federation.begin_run()
    scene.owner.journal.open_gate()
    scene.federation.assert_served()


def two_runs(scene: Scene) -> None:
    for _ in range(2):
        scene.federation.start()
        scene.federation.assert_served()
        scene.examine()
        scene.federation.stop()


def two_apps(scene: Scene) -> None:
    """Run another app of the same participants at the same time."""
    other = Federation(scene.folder / "homes", scene.storage, [OWNER], app="others", clock=scene.clock)
    with other:
        scene.federation.start()
        other.start()
        assert reason_of(other.ask("raise_error")[0])
        scene.federation.assert_served()
        with passing_time(scene.clock):
            other.stop()


def stop_is_lost(scene: Scene) -> None:
    """Let the data owner see no request from the stop on. Later, the next run of the aggregator reaches it."""
    scene.federation.start()
    scene.federation.assert_served()
    scene.owner.spy.hidden = (".request",)
    with passing_time(scene.clock, after=0):
        scene.grid.send_stop_signal()
        scene.federation.close_grid()
    scene.federation.begin_run()
    scene.owner.spy.hidden = ()
    scene.federation.assert_served()


def stop_in_training(scene: Scene) -> None:
    """Stop the run while the app works. Its reply is never recorded."""
    scene.federation.start()
    scene.push_to_the_gate()
    scene.grid.send_stop_signal()
    scene.federation.close_grid()
    scene.owner.journal.open_gate()
    with passing_time(scene.clock):
        scene.owner.join()


def next_run_begins_early(scene: Scene) -> None:
    """Begin the next run while the client cannot end the first one, because its app works. The client is kept."""
    scene.federation.start()
    scene.push_to_the_gate()
    scene.grid.send_stop_signal()
    scene.federation.close_grid()
    scene.federation.begin_run()
    message_id = scene.push()
    eventually(lambda: scene.owner.spy.finds[scene.federation.request_name(OWNER, message_id)], "the next request")
    scene.owner.journal.open_gate()
    assert answer_of(scene.pull(message_id))


def server_gets_sigterm(scene: Scene) -> None:
    machine = scene.machine(AGGREGATOR, server_app="waiting_server_app", owners=[OWNER])
    scene.owner.start()
    process = machine.start("server", str(machine.project))
    machine.journal.wait_for_call("")
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(PATIENCE) == 128 + signal.SIGTERM
    scene.owner.join()


def _resumed(
    name: str,
    during: Callable[[Scene], str],
    behaviour: str,
    before: Sequence[Expected],
    after: Sequence[Expected],
    data_owner: Sequence[Expected],
    *covers: str,
    state: str = "completed",
) -> Fault:
    return Fault(
        name,
        server_is_abandoned(during, repeat(behaviour)),
        (BEGUN, *before, RESUMED, *after, ended()),
        (SERVED, received(), *data_owner, ended()),
        [_RESUME + cover for cover in covers],
        never=((), ("run-resumed",)),
        ends=(state, state),
        status=_RESUMED if state == "completed" else _RESUMED_WITH_FAILURE,
        doctor=ALL_WELL,
    )


_STOPPED_IN_TRAINING = (
    shows("query request sent", after=(": failed after", "(the ServerApp ended without one reply", "| 0 of 1 | 0 |")),
    shows("query runs", after=(": failed after", "(the run failed at its aggregator)", "| 0 of 1 | 0 |")),
)
_RESUMED = (
    shows("query request sent", ": interrupted", ": running", after=(": completed", "| 1 of 1 | 0 |")),
    REPLYING,
)
_FAILED = ("| 0 of 1 | 1: app-raised |", "app-raised: the ClientApp raised ValueError")
_RESUMED_WITH_FAILURE = (
    shows(_FAILED, ": interrupted", ": running", after=(": failed", *_FAILED)),
    shows(_FAILED, after=(": failed after", "(the run failed at its aggregator)", *_FAILED)),
)
_AGAIN = sent(replayed=True)
_KEPT = answered(replayed=True)
_WORK = (started(), released(), closed())
FAULTS = [
    Fault(
        "Ctrl-C at the data owner in training",
        owner_is_interrupted,
        ASKED,
        (SERVED, received(), started(), SERVED_AGAIN, started(attempt=2), released(), closed(), ended()),
        ["faults/test_restart.py"],
        status=(ASKING, shows("query runs", ": interrupted", "query runs", after=(": completed", "| 1 of 1 | 0 |"))),
        doctor=CLIENT_GONE,
    ),
    Fault(
        "a message kills its client three times",
        message_kills_its_client,
        (BEGUN, sent(), failed("worker-died", "the client itself was killed 3 times"), sent(N), answered(N), ended()),
        (
            SERVED,
            received(),
            started(),
            started(attempt=2),
            started(attempt=3),
            event("request-refused", message=M, reason="worker-died"),
            released_error("worker-died", "the client itself was killed 3 times"),
            received(N),
            started(N),
            released(N),
            ended(),
        ),
        ["faults/test_killed.py"],
        status=(
            lost("worker-died: the client itself was killed 3 times", after="1 of 2", state="completed"),
            refusing("worker-died: the client itself was killed 3 times", after="1 of 2", state="completed"),
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "the data owner is killed in training and after its reply",
        owner_is_killed,
        ASKED,
        (
            SERVED,
            received(),
            started(),
            SERVED_AGAIN,
            started(attempt=2),
            # Of the client that was killed after it wrote the reply, or of the next one.
            event("run-resumed", resumed=2),
            released(),
            closed(),
            ended(),
        ),
        [
            "faults/test_killed.py",
            "faults/test_any_order.py",
            "chaos/test_chaos.py",
            "chaos/test_crash_points.py",
            "chaos/test_drive_killed.py",
        ],
        over="folder",
        still=False,
        status=(ASKING, shows("query runs", ": interrupted", "query runs", after=(": completed", "| 1 of 1 | 0 |"))),
        # A heartbeat stays after a kill, and shows the end of its client only when it is old.
        doctor=(
            [Found("peers-running", f"the last heartbeat of {OWNER} is 60 minutes old")],
            WELL,
        ),
    ),
    Fault(
        "the server is killed and resumed",
        server_is_killed,
        (
            BEGUN,
            sent(M),
            answered(M),
            sent(N),
            RESUMED,
            sent(M, replayed=True),
            answered(M, replayed=True, bytes=0),
            sent(N, replayed=True),
            answered(N, replayed=True),
            ended(),
        ),
        (SERVED, received(M), released(M), received(N), started(N), released(N), ended()),
        [
            "chaos/test_training.py",
            "chaos/test_chaos.py",
            "chaos/test_crash_points.py",
            _RESUME + "test_killed_anywhere.py",
            "faults/test_resumed_random.py",
        ],
        over="folder",
        still=False,
        never=((), ("run-resumed",)),
        # The app finds its own journal, and not that of the server.
        options={OWNER: {"run_config": "own"}},
        status=(
            shows(
                "| 1 of 2 | 0",
                (": silent for", "Its process stands still"),
                ": interrupted",
                ": running",
                after=(": completed", "| 2 of 2 | 0"),
            ),
            shows("query runs", after=(": completed", "| 2 of 2 | 0")),
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "SIGTERM at the server",
        server_gets_sigterm,
        (BEGUN, ended("stopped", "interrupted")),
        (SERVED, ended("stopped", "its aggregator was stopped")),
        ["faults/test_inherited_signals.py"],
        ends=("stopped", "stopped"),
        over="folder",
        still=False,
        status=(
            shows(": running", after=(": stopped after", "(interrupted)")),
            shows(after=(": stopped after", "(its aggregator was stopped)")),
        ),
        doctor=CLIENT_GONE,
    ),
    _resumed(
        "the server is resumed with an open request",
        reply_is_open,
        "answer_at_the_gate",
        (sent(),),
        (_AGAIN, _KEPT),
        _WORK,
        "test_under_way.py",
        "test_killed_anywhere.py",
    ),
    _resumed(
        "the server is resumed with a collected reply",
        reply_was_collected,
        "answer",
        (sent(), answered()),
        (_AGAIN, answered(replayed=True, bytes=0)),
        _WORK,
        "test_answered.py",
    ),
    _resumed(
        "the server is resumed with a received reply",
        reply_was_received,
        "answer",
        (sent(),),
        (_AGAIN, _KEPT),
        _WORK,
        "test_answered.py",
    ),
    _resumed(
        "the server is resumed with a collected failure",
        failure_was_collected,
        "raise_error",
        (sent(), failed("app-raised", "ValueError")),
        (_AGAIN, failed("app-raised", "ValueError", replayed=True)),
        (started(), released_error("app-raised", "ValueError"), closed()),
        "test_failed.py",
        state="failed",
    ),
    _resumed(
        "the server is resumed with objects",
        large_request_is_open,
        "answer_large_at_the_gate",
        (sent(),),
        (_AGAIN, _KEPT),
        _WORK,
        "test_objects.py",
    ),
    Fault(
        "another run takes the place of a killed one",
        another_run_takes_its_place,
        (BEGUN, sent(), ended("stopped", "another run took its place")),
        (SERVED, received(), started(), closed(), ended("stopped", "another run took its place")),
        ["faults/test_restart.py"],
        ends=("stopped", "stopped"),
        status=(
            shows(
                "query request sent",
                ": interrupted",
                after=(": stopped after", "(another run took its place)", "| 0 of 1 | 0 |"),
            ),
            shows("query runs", after=(": stopped after", "(another run took its place)", "| 0 of 1 | 0 |")),
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "two runs, one after the other",
        two_runs,
        ASKED,
        REPLIED,
        ["faults/test_second_run.py"],
        status=NORMAL,
        doctor=ALL_WELL,
    ),
    Fault(
        "the stop is lost",
        stop_is_lost,
        (
            BEGUN,
            sent(),
            answered(),
            sent(N, kind="system", round="final"),
            failed("no-answer", "the end of the run was not confirmed", N, kind="system"),
            ended(),
        ),
        (SERVED, received(), released(), closed(), ended("stopped", "another run took its place")),
        ["faults/test_stop.py"],
        ends=("completed", "stopped"),
        status=(
            ASKING,
            shows("query runs", after=(": stopped after", "(another run took its place)", "| 1 of 1 | 0 |")),
        ),
        doctor=ALL_WELL,
    ),
    Fault(
        "two apps at the same time",
        two_apps,
        ASKED,
        REPLIED,
        ["faults/test_several_apps.py"],
        status=NORMAL,
        doctor=ALL_WELL,
    ),
    Fault(
        "a stop in training",
        stop_in_training,
        (
            BEGUN,
            sent(),
            failed("stopped", "the run was stopped"),
            ended("failed", "the ServerApp ended without one reply to its query requests"),
        ),
        (SERVED, received(), started(), ended("failed", "the run failed at its aggregator")),
        ["faults/test_stop.py"],
        ends=("failed", "failed"),
        never=((), ()),
        status=_STOPPED_IN_TRAINING,
        doctor=CLIENT_GONE,
    ),
    Fault(
        "the next run begins before a kept client has ended the first one",
        next_run_begins_early,
        (
            BEGUN,
            sent(),
            failed("stopped", "the run was stopped"),
            ended("failed", "the ServerApp ended without one reply to its query requests"),
        ),
        (SERVED, received(), started(), ended("failed", "the run failed at its aggregator")),
        ["faults/test_keep.py"],
        ends=("failed", "failed"),
        never=((), ("run-resumed",)),
        options={OWNER: {"keep": True}},
        status=_STOPPED_IN_TRAINING,
        doctor=ALL_WELL,
    ),
]
