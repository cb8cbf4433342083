"""Ways in which SyftBox loses a request or a reply: each ends when the loss has happened."""

import threading
from collections.abc import Callable

from faultkit.federation import AGGREGATOR
from faultkit.synced_round import OWNER, Round
from waiting import eventually

from syft_flwr.emulators.syftbox.faithful import Window

# Ways to lose a request. Each one sends the request, and ends when the loss has happened.


def deleted_at_the_receiver(case: Round) -> None:
    """Push the request between the view and the walk of the receiver."""
    with case.cycle(OWNER, Window.AFTER_VIEW):
        case.ask_and_arrive()
        case.journaled(OWNER, case.request)
    case.deleted(OWNER, case.request)
    case.go_on(OWNER)


def in_conflict_at_the_receiver(case: Round) -> None:
    """Push the request between the walk and the journal of the receiver. The next cycle sees a conflict."""
    with case.cycle(OWNER, Window.AFTER_WALK):
        case.ask_and_arrive()
        case.journaled(OWNER, case.request)
        case.indexed(case.request)
    case.conflicts(OWNER, case.request)
    case.go_on(OWNER)


def deleted_at_the_sender(case: Round) -> None:
    with case.cycle(AGGREGATOR, Window.AFTER_VIEW):
        case.ask_and_arrive()
        case.journaled(AGGREGATOR, case.request)
    case.deleted(AGGREGATOR, case.request)
    case.go_on(AGGREGATOR)
    case.arrives(AGGREGATOR, case.request)


def in_conflict_at_the_sender(case: Round) -> None:
    with case.cycle(AGGREGATOR, Window.AFTER_WALK):
        case.ask_and_arrive()
        case.journaled(AGGREGATOR, case.request)
        case.indexed(case.request)
    case.conflicts(AGGREGATOR, case.request)
    case.go_on(AGGREGATOR)


def refused_by_the_store(case: Round) -> None:
    """Let the store fail. The data owner gets the request before that, and both clients delete it."""
    case.world.store.fails = True
    case.ask_and_arrive()
    case.deleted(AGGREGATOR, case.request)
    case.deleted(OWNER, case.request)
    case.look(OWNER)
    case.examine()
    case.world.store.fails = False


def dropped_on_its_way(case: Round) -> None:
    """Lose the push before the server. The sender counts it as sent, and its next cycle deletes the file."""
    case.network.link.drop = lambda name: "/messages/" in name and name.endswith(".request")
    with case.only_pushes(AGGREGATOR):
        case.ask()
        case.journaled(AGGREGATOR, case.request)
    case.deleted(AGGREGATOR, case.request)
    case.network.link.drop = False


def cut_in_the_frame(case: Round) -> None:
    with case.only_pushes(AGGREGATOR), case.hold(AGGREGATOR, Window.FRAME) as held:
        case.ask()
        held.wait()
        case.world.cut(AGGREGATOR)
        case.journaled(AGGREGATOR, case.request)
    case.deleted(AGGREGATOR, case.request)


def server_ended_before_the_store(case: Round) -> None:
    # The sender must not put the file back before the receiver has lost it.
    with case.only_pushes(AGGREGATOR):
        with case.hold(AGGREGATOR, Window.PUT) as held:
            case.ask_and_arrive()
            held.wait()
            case.world.stop_server()
            case.world.start_server()
        case.deleted(OWNER, case.request)
        case.go_on(OWNER)
    case.deleted(AGGREGATOR, case.request)


def store_stands_still(case: Round) -> None:
    """Stop the store for three cycles. The request comes back when its PUT ends."""
    case.world.store.stop()
    case.ask_and_arrive()
    case.deleted(OWNER, case.request)
    case.pass_cycles(3, AGGREGATOR, OWNER)
    case.look(OWNER)
    case.examine()
    case.world.store.resume()


def missing_in_the_index(case: Round) -> None:
    """Store the request while the server lists its store. It is in the store and not in the index until the next rebuild."""
    rebuilding = threading.Thread(target=case.world.rebuild_index)
    with case.world.hold("", Window.LISTING) as held:
        rebuilding.start()
        held.wait()
        case.ask_and_arrive()
        eventually(lambda: case.request in case.world.stored(), "the request in the store")
        # The sender must not put the file back before the receiver has lost it.
        case.world.set_automatic(False, AGGREGATOR)
    rebuilding.join()
    case.deleted(OWNER, case.request)
    case.look(OWNER)
    case.world.rebuild_index()
    case.world.set_automatic(True, AGGREGATOR)


def sender_restarted(case: Round) -> None:
    """Kill the sender's client in the second before its push enters the journal. Its first cycle sees a conflict."""
    case.ask_and_arrive()
    case.indexed(case.request)
    case.journaled(AGGREGATOR, case.request)
    case.world.kill(AGGREGATOR)
    case.world._daemon(AGGREGATOR).files.journal.remove(case.request)
    assert case.world.restart(AGGREGATOR)
    case.renamed(AGGREGATOR, case.request)


def receiver_restarted(case: Round) -> None:
    """Kill the receiver's client between the file and its entry in the journal."""
    with case.hold(OWNER, Window.PLACED) as held:
        case.ask_and_arrive()
        held.wait()
        case.indexed(case.request)
        case.world.set_automatic(False, OWNER)
        case.world.kill(OWNER)
    assert case.world.restart(OWNER)
    case.renamed(OWNER, case.request)
    case.go_on(OWNER)


LOST_REQUESTS: tuple[Callable[[Round], None], ...] = (
    deleted_at_the_receiver,
    in_conflict_at_the_receiver,
    deleted_at_the_sender,
    in_conflict_at_the_sender,
    refused_by_the_store,
    dropped_on_its_way,
    cut_in_the_frame,
    server_ended_before_the_store,
    store_stands_still,
    missing_in_the_index,
    sender_restarted,
    receiver_restarted,
)


# Ways to lose a reply, to a request that has arrived.


def reply_deleted_at_the_receiver(case: Round) -> None:
    """Delete the reply before the aggregator reads it, as on a busy machine."""
    case.federation.spy.hidden = (".response",)
    with case.cycle(AGGREGATOR, Window.AFTER_VIEW):
        case.reply_and_arrive()
        case.journaled(AGGREGATOR, case.response)
    case.deleted(AGGREGATOR, case.response)
    case.go_on(AGGREGATOR)
    case.federation.spy.hidden = ()


def reply_in_conflict_at_the_receiver(case: Round) -> None:
    case.federation.spy.hidden = (".response",)
    with case.cycle(AGGREGATOR, Window.AFTER_WALK):
        case.reply_and_arrive()
        case.journaled(AGGREGATOR, case.response)
        case.indexed(case.response)
    case.conflicts(AGGREGATOR, case.response)
    case.go_on(AGGREGATOR)
    case.federation.spy.hidden = ()


def reply_deleted_at_the_sender(case: Round) -> None:
    with case.cycle(OWNER, Window.AFTER_VIEW):
        case.reply()
        case.journaled(OWNER, case.response)
    case.deleted(OWNER, case.response)
    case.go_on(OWNER)


def reply_in_conflict_at_the_sender(case: Round) -> None:
    case.federation.spy.hidden = (".response",)
    with case.cycle(OWNER, Window.AFTER_WALK):
        case.reply()
        case.journaled(OWNER, case.response)
        case.indexed(case.response)
    case.conflicts(OWNER, case.response)
    case.go_on(OWNER)
    case.federation.spy.hidden = ()


def reply_refused_by_the_store(case: Round) -> None:
    case.federation.spy.hidden = (".response",)
    case.world.store.fails = True
    case.reply_and_arrive()
    case.deleted(AGGREGATOR, case.response)
    case.deleted(OWNER, case.response)
    case.world.store.fails = False
    case.federation.spy.hidden = ()


def reply_dropped_on_its_way(case: Round) -> None:
    case.network.link.drop = lambda name: name.endswith(".response")
    with case.only_pushes(OWNER):
        case.reply()
        case.journaled(OWNER, case.response)
    case.deleted(OWNER, case.response)
    case.network.link.drop = False


def reply_cut_in_the_frame(case: Round) -> None:
    with case.only_pushes(OWNER), case.hold(OWNER, Window.FRAME) as held:
        case.reply()
        held.wait()
        case.world.cut(OWNER)
        case.journaled(OWNER, case.response)
    case.deleted(OWNER, case.response)


def aggregator_client_down_meanwhile(case: Round) -> None:
    case.world.kill(AGGREGATOR)
    case.reply()
    case.indexed(case.response)
    assert case.world.restart(AGGREGATOR)


LOST_REPLIES: tuple[Callable[[Round], None], ...] = (
    reply_deleted_at_the_receiver,
    reply_in_conflict_at_the_receiver,
    reply_deleted_at_the_sender,
    reply_in_conflict_at_the_sender,
    reply_refused_by_the_store,
    reply_dropped_on_its_way,
    reply_cut_in_the_frame,
    aggregator_client_down_meanwhile,
)
