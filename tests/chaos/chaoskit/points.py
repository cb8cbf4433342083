"""Named points at which a process can kill itself: before and after each step in the life of a message.

A point is ``before`` or ``after`` a function of the package, for example ``after:futures.add``. With a number, as in
``after:futures.add#3``, the process dies at the third call. It dies by SIGKILL, and only in the process that armed it.
"""

import functools
import importlib
import itertools
import os
import signal
from typing import Any

#: For each step, the module and the method of the package.
_STEPS = {
    # The aggregator
    "objects.write": ("_messaging.objects", "ObjectFolder.write"),
    "futures.add": ("_store.futures", "Futures.add"),
    "request.put": ("_messaging.asking.sender", "Sender._put"),
    "futures.sent": ("_store.futures", "Futures.move"),
    "futures.answer": ("_store.futures", "Futures.answer"),
    "answer.opened": ("_messaging.arrivals", "Arrival.open_arrived"),
    "journal.keep": ("_messaging.asking.kept_answers", "KeptAnswers.keep"),
    "futures.collect": ("_store.futures", "Futures.collect"),
    "links.own": ("_messaging.own_links", "OwnLinks.add"),
    "links.take": ("_messaging.peer_links", "PeerLinks._take"),
    "links.drop": ("_messaging.peer_links", "PeerLinks.release"),
    "withdrawal.publish": ("_messaging.asking.aggregator_heartbeat", "AggregatorHeartbeat.publish"),
    "strays.discard": ("_messaging.strays", "Strays.discard"),
    "request.withdraw": ("_messaging.asking.sender", "Sender.withdraw"),
    "run.open": ("_messaging.asking.caller", "Caller.open_run"),
    "stop.send": ("fl_orchestrator.syft_grid", "SyftGrid.send_stop_signal"),
    "run.end": ("_store.run_table", "Runs.end"),
    # A data owner
    "ledger.add": ("_store.ledger", "Ledger.add"),
    "ledger.running": ("_store.ledger", "Ledger.start"),
    "ledger.replied": ("_store.ledger", "Ledger.move"),
    "worker.run": ("fl_orchestrator.worker_process", "WorkerProcess.run"),
    "ledger.answer": ("_store.ledger", "Ledger.answer"),
    "ledger.links": ("_messaging.link_folder", "LinkFolder.add"),
    "ledger.unlink": ("_messaging.link_folder", "LinkFolder.remove"),
    "ledger.statement": ("_messaging.answering.closing", "ByStatement.look"),
    "response.put": ("_messaging.answering.answers", "Answers.put"),
    "answer.close": ("_messaging.answering.answers", "Answers.close"),
    "ledger.close": ("_store.ledger", "Ledger.close_request"),
}
#: The same for the steps in which a participant writes files again that the sync service deleted.
_RESTORING_STEPS = {
    "restore.due": ("_messaging.put_back", "PutBack.due"),
    "restore.done": ("_messaging.put_back", "PutBack.done"),
}
#: The same for the steps between a participant and its Google Drive.
_DRIVE_STEPS = {
    "drive.record": ("transport._gdrive.streams.saved_state", "SavedState.save"),
    "drive.ids": ("transport._gdrive.api.drive_client", "DriveClient.new_ids"),
    "drive.folder": ("transport._gdrive.api.drive_client", "DriveClient.create_folder"),
    "drive.share": ("transport._gdrive.api.drive_client", "DriveClient.share"),
    "drive.create": ("transport._gdrive.api.drive_client", "DriveClient.create"),
    "drive.update": ("transport._gdrive.api.drive_client", "DriveClient.update"),
    "drive.announce": ("transport._gdrive.api.drive_client", "DriveClient.set_properties"),
    "drive.session": ("transport._gdrive.api.upload_sessions", "UploadSessions.save"),
    "drive.session-end": ("transport._gdrive.api.upload_sessions", "UploadSessions.drop"),
    "drive.delete": ("transport._gdrive.api.drive_client", "DriveClient.delete_many"),
    "drive.download": ("transport._gdrive.api.drive_client", "DriveClient.download"),
    "drive.poll": ("transport._gdrive.api.drive_client", "DriveClient.get_many"),
}
_OWNERS = ("ledger.", "worker.", "response.", "answer.close")

#: For each point, the participant that dies there.
POINTS = {
    f"{moment}:{step}": "owner" if step.startswith(_OWNERS) else "server"
    for step in _STEPS
    for moment in ("before", "after")
}


#: Both participants die at these points.
RESTORING_POINTS = [f"{moment}:{step}" for step in _RESTORING_STEPS for moment in ("before", "after")]
DRIVE_POINTS = [f"{moment}:{step}" for step in _DRIVE_STEPS for moment in ("before", "after")]


def arm(point: str) -> None:
    """Let this process kill itself at ``point``."""
    place, _, count = point.partition("#")
    moment, _, step = place.partition(":")
    module_name, qualified = (_STEPS | _RESTORING_STEPS | _DRIVE_STEPS)[step]
    module = importlib.import_module(f"syft_flwr.{module_name}")
    class_name, function_name = qualified.split(".")
    owner = getattr(module, class_name)
    original = getattr(owner, function_name)
    calls = itertools.count(1)
    fatal, home = int(count or 1), os.getpid()

    @functools.wraps(original)
    def dying(*args: Any, **kwargs: Any) -> Any:
        dies = os.getpid() == home and next(calls) == fatal
        if dies and moment == "before":
            os.kill(home, signal.SIGKILL)
        result = original(*args, **kwargs)
        if dies:
            os.kill(home, signal.SIGKILL)
        return result

    setattr(owner, function_name, dying)
