"""Opens the transport that the settings name, after the checks of its service, and opens it again in a worker process."""

import re
from collections.abc import Collection
from importlib import import_module
from typing import Any

from syft_flwr.config import TRANSPORTS, Settings
from syft_flwr.config.transport_table import parse_transport
from syft_flwr.errors import ConfigError
from syft_flwr.transport.base import Reopening, Transport

_REFERENCE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_OPENER_HINT = "Write the opener of the transport as module:function, and install the module's package."


def open_transport(settings: Settings, *, peers: Collection[str], live: bool) -> Transport:
    """Return a participant's transport, as the settings name it.

    Args:
        settings: the resolved settings of the participant.
        peers: the emails of the peers, normalised.
        live: the process runs for long and waits for files, so the service is checked first, and the transport may poll in
            the background. Otherwise each call asks the storage.

    Raises:
        ConfigError: the transport is unknown, or a setting that it needs is missing.
        TransportError: the transport cannot be opened, or its service cannot work.
    """
    row = TRANSPORTS[parse_transport(settings.transport, "transport")]
    for name in ("email", "home", *row.required):
        settings.require(name)
    if live and row.checks:
        load_function(row.checks)(settings, peers)
    transport: Transport = load_function(row.opener)(settings, peers, live)
    return transport


def open_again(reopening: Reopening) -> Transport:
    """Return, in a worker process, the transport that :meth:`Transport.reopen` describes."""
    transport: Transport = load_function(reopening.opener)(**reopening.arguments)
    return transport


def load_function(reference: str) -> Any:
    """Return the function that ``module:function`` names.

    The import executes code, so ``reference`` must never come from a file of a project or from a peer.

    Raises:
        ConfigError: the reference has another form, cannot be imported, or is not a function.
    """
    if not _REFERENCE.fullmatch(reference):
        raise ConfigError(f"transport: {reference!r} is not of the form module:function", hint=_OPENER_HINT)
    module, _, function = reference.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"transport: {reference} cannot be imported: {error}", hint=_OPENER_HINT) from error
    if not callable(found):
        raise ConfigError(f"transport: {reference} is not a function", hint=_OPENER_HINT)
    return found
