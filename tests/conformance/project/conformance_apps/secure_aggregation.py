"""SecAgg+ with Flower's own workflow and mod: four exchanges per round, with client state between them."""

from conformance_apps import legacy, task
from conformance_apps.outcome import keep
from conformance_apps.privacy import seeded
from flwr.app import Context
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters
from flwr.server import LegacyContext, ServerConfig
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow
from flwr.serverapp import Grid, ServerApp

THRESHOLD = 3
CLIPPING_RANGE = 8.0
QUANTIZATION_RANGE = 2**22

server_app = ServerApp()
# Quantisation rounds at random. With a known seed the sum is the same integer in every run, for any keys.
client_app = ClientApp(client_fn=legacy.client_fn, mods=[seeded, secaggplus_mod])


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    clients = len(list(grid.get_node_ids()))
    strategy = legacy.make_strategy(
        context,
        clients,
        initial_parameters=ndarrays_to_parameters(task.initial_model(int(config["data.features"]))),
    )
    history_context = LegacyContext(
        context=context, config=ServerConfig(num_rounds=int(config["num-server-rounds"])), strategy=strategy
    )
    workflow = SecAggPlusWorkflow(
        num_shares=clients,
        reconstruction_threshold=THRESHOLD,
        # A power of two, so that the weights of the average are exact.
        max_weight=float(task.partition_size(clients - 1)),
        clipping_range=CLIPPING_RANGE,
        quantization_range=QUANTIZATION_RANGE,
        timeout=60,
    )
    DefaultWorkflow(fit_workflow=workflow)(grid, history_context)
    aggregated = context.state.array_records["parameters"]
    model = [array.numpy() for array in aggregated.values()]
    keep(context, legacy.strategies.to_record(model), vars(history_context.history))
