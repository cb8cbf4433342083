"""Over the real SyftBox: a process or a service fails in a round, and no message is lost."""

import time
from collections.abc import Callable

import pytest
from realkit.federation import DO1, DS, OWNERS, Federation, Training, incomplete

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1_200)]

#: The round with the fault.
_ROUND = 2


def _kill_aggregator(federation: Federation) -> None:
    federation.restart(DS)


def _kill_data_owner(federation: Federation) -> None:
    federation.restart(DO1)


def _restart_client_of_aggregator(federation: Federation) -> None:
    client = federation.network.clients[DS]
    client.kill()
    time.sleep(5)
    client.start()


def _restart_client_of_data_owner(federation: Federation) -> None:
    client = federation.network.clients[DO1]
    client.kill()
    time.sleep(5)
    client.start()


def _pause_client_of_data_owner(federation: Federation) -> None:
    client = federation.network.clients[DO1]
    client.pause()
    time.sleep(40)
    client.resume()


def _restart_server_six_times(federation: Federation) -> None:
    for _ in range(6):
        federation.network.server.kill()
        time.sleep(1)
        federation.network.start_server()
        time.sleep(1)


def _pause_store(federation: Federation) -> None:
    federation.network.store.pause()
    time.sleep(15)
    federation.network.store.resume()


def _cut_connections(federation: Federation) -> None:
    # The replies are pushed in this time.
    for _ in range(25):
        for link in federation.network.links.values():
            link.cut()
        time.sleep(0.25)


_FAULTS = [
    _kill_aggregator,
    _kill_data_owner,
    _restart_client_of_aggregator,
    _restart_client_of_data_owner,
    _pause_client_of_data_owner,
    _restart_server_six_times,
    _pause_store,
    _cut_connections,
]


@pytest.mark.parametrize("size", [4_000, 1_000_000])
@pytest.mark.parametrize("fault", _FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_fault_in_a_round_loses_no_message(
    train: Callable[..., Federation], fault: Callable[[Federation], None], size: int
) -> None:
    federation = train(Training(rounds=4, size=size, seconds=4.0))
    for email in OWNERS:
        federation.wait_for_call(email, _ROUND)
    fault(federation)
    rounds = federation.finish()
    assert incomplete(rounds) == [], federation.logs()
    twice = {key: count for key, count in federation.calls().items() if count > 1}
    # The app of a killed data owner may run again: its reply was not recorded yet.
    assert twice.keys() <= ({(DO1, _ROUND)} if fault is _kill_data_owner else set())
