"""Opens a transport by its row in the table, and the same end again in another process."""

import re
from collections.abc import Collection
from importlib import import_module
from typing import Any

from syft_flwr.config import TRANSPORTS, Settings
from syft_flwr.config.transport_table import parse_transport
from syft_flwr.errors import ConfigError
from syft_flwr.transport.base import Reopening, Transport

_REFERENCE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def open_transport(settings: Settings, *, peers: Collection[str], live: bool) -> Transport:
    """Open a participant's end of the transport that the settings name.

    Args:
        settings: resolved.
        peers: the emails with which it exchanges files, normalised.
        live: it stays, and wants to know what comes. Otherwise each question is asked of the storage when it is put.

    Raises:
        ConfigError: there is no such transport, or a setting that it needs is not set.
        TransportError: it cannot be opened.
    """
    row = TRANSPORTS[parse_transport(settings.transport, "transport")]
    for name in ("email", "home", *row.required):
        settings.require(name)
    transport: Transport = load_function(row.opener)(settings, peers, live)
    return transport


def open_again(reopening: Reopening) -> Transport:
    """Open, in a worker process, the end that :meth:`Transport.reopen` described."""
    transport: Transport = load_function(reopening.opener)(**reopening.arguments)
    return transport


def load_function(reference: str) -> Any:
    """Return the function ``module:function`` of a row or of a transport.

    It runs code: never give it text from a file of a project or from a peer.

    Raises:
        ConfigError: there is none.
    """
    if not _REFERENCE.fullmatch(reference):
        raise ConfigError(f"transport: {reference!r} is not of the form module:function")
    module, _, function = reference.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"transport: {reference} cannot be imported: {error}") from error
    if not callable(found):
        raise ConfigError(f"transport: {reference} is not a function")
    return found
