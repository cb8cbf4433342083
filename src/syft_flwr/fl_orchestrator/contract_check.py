"""Checks the objects of a user's code for which Flower itself would fail with an ``AttributeError``.

The types are those of Flower 1.40 and later. Much code and documentation for older releases passes others.
"""

from flwr.app import Context, RecordDict
from flwr.server import ServerAppComponents

from syft_flwr.errors import AppRaisedError, ConfigError, LocalProtocolError, RunError
from syft_flwr.fl_orchestrator.app_exceptions import type_name
from syft_flwr.fl_orchestrator.codec import records_to_buffers

_CONTEXT = (
    "Flower >= 1.40 wants: Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={}), "
    "both classes from flwr.app; see docs/flower-apps.md."
)
_SERVER_FN = (
    "Flower >= 1.40 wants: return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=3)), "
    "see docs/flower-apps.md."
)


def require_context(context: object) -> None:
    """Raise ConfigError unless ``context`` is Flower's Context with the right types, and its state can be kept."""
    if not isinstance(context, Context):
        raise ConfigError(f"context: a {type_name(context)} in place of a flwr.app.Context", hint=_CONTEXT)
    if not isinstance(context.state, RecordDict):
        raise ConfigError(
            f"context.state: a {type_name(context.state)} in place of a flwr.app.RecordDict", hint=_CONTEXT
        )
    for name, value in (("node_config", context.node_config), ("run_config", context.run_config)):
        if not isinstance(value, dict):
            raise ConfigError(f"context.{name}: a {type_name(value)} in place of a dict", hint=_CONTEXT)
    try:
        records_to_buffers(context.state)
    except LocalProtocolError as error:
        raise ConfigError(f"context.state cannot be kept: {error}", hint=error.hint) from error


def require_components(made: object) -> None:
    """Raise RunError unless ``made``, the result of a ``server_fn``, has Flower's type."""
    if not isinstance(made, ServerAppComponents):
        raise RunError(f"server_fn returned a {type_name(made)} in place of ServerAppComponents", hint=_SERVER_FN)


def wrong_client_error(client: object) -> AppRaisedError:
    """Return the error for a ``client_fn`` that returned ``client``, which is no Flower client."""
    return AppRaisedError(
        f"client_fn returned a {type_name(client)} in place of a flwr.client.Client",
        travels=True,
        hint="Flower >= 1.40 wants: return MyNumPyClient(...).to_client(), see docs/flower-apps.md.",
    )


def no_message_error(reply: object) -> AppRaisedError:
    """Return the error for a ClientApp that returned ``reply``, which is no message."""
    return AppRaisedError(f"the ClientApp returned {type_name(reply)} instead of a Message", travels=True)
