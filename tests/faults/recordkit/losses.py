"""Single losses of SyftBox: each is repaired, so both records and the status look as without a fault."""

from collections.abc import Callable
from dataclasses import replace

from faultkit import losses
from faultkit.synced_round import Round
from recordkit.examining import NO_CLIENT, WELL
from recordkit.expected import BEGUN, OWNER, SERVED, N, answered, ended, received, released, sent, started
from recordkit.scene import Fault, Inject, Scene
from recordkit.status import NORMAL, shows
from recordkit.syftbox import begin

#: Both ask once more, to show that the client still works.
_ASKED = (BEGUN, sent(), answered(), sent(N), answered(N), ended())
_REPLIED = (SERVED, received(), started(), released(), received(N), started(N), released(N), ended())
#: SyftBox loses heartbeats in the same ways as messages, until the next one is written.
_LOST_HEARTBEAT = replace(NO_CLIENT[0], always=False)
_STATUS = tuple(shows(*side.during, after=(": completed", "| 2 of 2 | 0 |")) for side in NORMAL)


def _losing(lose: Callable[[Round], None], *, is_reply: bool) -> Inject:
    def inject(scene: Scene) -> None:
        begin(scene)
        scene.storage.settle()
        case = Round(scene.federation, scene.storage, examine=scene.examine)
        scene.stack.callback(_mend, case)
        if is_reply:
            case.ask_and_arrive()
            scene.storage.settle()
        lose(case)
        if not scene.findings:
            scene.examine()
        case.assert_replied()
        case.assert_run_once()

    return inject


def _mend(case: Round) -> None:
    case.world.store.fails = False
    case.world.store.resume()
    case.federation[OWNER].journal.open_gate()


def _row(lose: Callable[[Round], None], *, is_reply: bool) -> Fault:
    return Fault(
        lose.__name__,
        _losing(lose, is_reply=is_reply),
        _ASKED,
        _REPLIED,
        ["faults/test_syftbox_losses.py", "faults/test_any_synced_order.py"],
        over="quick" if lose is losses.store_stands_still else "synced",
        still=False,
        status=_STATUS,
        # The server refuses a probe file for its name, before its store is used. So a store that fails is not seen.
        doctor=([_LOST_HEARTBEAT], WELL),
    )


LOST_REQUESTS = [_row(lose, is_reply=False) for lose in losses.LOST_REQUESTS]
LOST_REPLIES = [_row(lose, is_reply=True) for lose in losses.LOST_REPLIES]
