"""Behaviour of the memory transport beyond the contract: it refuses at once, where a real storage refuses later."""

import pytest

from syft_flwr.errors import NotFoundError
from syft_flwr.transport.memory import MemoryNetwork

DS, DO, OTHER = "ds@x.org", "do@y.org", "other@z.org"
NAME = f"{DO}/app_data/flwr/app/objects/ab/one.blob"
INBOX = f"{DO}/app_data/flwr/app/rpc/"
REQUEST = f"{INBOX}messages/{DS}/{'0' * 32}.request"


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork()


def test_only_the_writer_can_delete_a_file(network: MemoryNetwork) -> None:
    do, ds, other = (network.transport(email) for email in (DO, DS, OTHER))
    do.open_inbox(INBOX)
    do.put(NAME, b"content", readers=["*"])
    ds.put(REQUEST, b"asked", readers=[DO])

    other.delete(NAME)
    other.delete(REQUEST)
    ds.delete(NAME)

    assert do.get(NAME, max_size=100) == b"content"
    assert do.get(REQUEST, max_size=100) == b"asked"
    ds.delete(REQUEST)
    with pytest.raises(NotFoundError):
        do.get(REQUEST, max_size=100)


def test_unshared_file_is_hidden_from_others(network: MemoryNetwork) -> None:
    network.transport(DO).put(NAME, b"content", readers=[DS])
    other = network.transport(OTHER)

    for look in (lambda: other.get(NAME, max_size=100), lambda: other.stat(NAME), lambda: other.open(NAME, max_size=9)):
        with pytest.raises(NotFoundError):
            look()
    assert list(other.list(f"{DO}/")) == []
    other.put(NAME, b"forged", readers=["*"], replace=True)
    assert other.refused(NAME)
    assert network.transport(DS).get(NAME, max_size=100) == b"content"


def test_refused_write_can_be_repeated_when_allowed(network: MemoryNetwork) -> None:
    ds, do = network.transport(DS), network.transport(DO)
    ds.put(REQUEST, b"asked", readers=[DO])
    assert ds.refused(REQUEST)
    ds.delete(REQUEST)
    assert not ds.refused(REQUEST)

    do.open_inbox(INBOX)
    ds.put(REQUEST, b"asked", readers=[DO])

    assert not ds.refused(REQUEST)
    assert do.get(REQUEST, max_size=100) == b"asked"


def test_network_settings_reach_the_transport() -> None:
    assert MemoryNetwork(part_size=1_000, poll_interval=0.5).transport(DS).properties.part_size == 1_000
    assert MemoryNetwork(poll_interval=0.5).transport(DS).properties.poll_interval == 0.5
