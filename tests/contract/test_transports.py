"""Every transport of this package keeps the contract; ``conftest.py`` has a storage for each."""

from syft_flwr.testing.transport_contract import *  # noqa: F403
