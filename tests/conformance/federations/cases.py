"""The cases that must end with the same result on every system."""

from federations.case import Case

_STRATEGIES = ("conformance_apps.strategies:server_app", "conformance_apps.strategies:client_app")
_LEGACY = ("conformance_apps.legacy:server_app", "conformance_apps.legacy:client_app")
_SECURE = ("conformance_apps.secure_aggregation:server_app", "conformance_apps.secure_aggregation:client_app")

CASES = {
    "legacy": Case(*_LEGACY),
    "legacy-one-fails": Case(*_LEGACY, clients=4, run_config={"fails-in-round": 2}),
    "fedavg": Case(*_STRATEGIES),
    "fedavg-one-fails": Case(*_STRATEGIES, clients=4, run_config={"fails-in-round": 2}),
    # Each message has 160 kB of arrays, which do not fit into an envelope.
    "fedavg-large": Case(*_STRATEGIES, run_config={"data.features": 20_000, "num-server-rounds": 2}),
    "fedadam": Case(*_STRATEGIES, run_config={"strategy": "fedadam"}),
    "fedprox": Case(*_STRATEGIES, run_config={"strategy": "fedprox"}),
    "krum": Case(*_STRATEGIES, clients=5, run_config={"strategy": "krum"}),
    "queries": Case("conformance_apps.queries:server_app", "conformance_apps.queries:client_app"),
    "split-training": Case("conformance_apps.features:split_server_app", "conformance_apps.features:split_client_app"),
    "rich": Case(
        "conformance_apps.features:rich_server_app",
        "conformance_apps.features:rich_client_app",
        run_config={"learning-rate": 0.25, "local-steps": 2},
    ),
    "fixed-clipping": Case(
        "conformance_apps.privacy:clipping_server_app", "conformance_apps.privacy:clipping_client_app"
    ),
    "local-dp": Case("conformance_apps.strategies:server_app", "conformance_apps.privacy:local_dp_client_app"),
    "message-sizes": Case("conformance_apps.strategies:server_app", "conformance_apps.privacy:sizes_client_app"),
    "secure-aggregation": Case(*_SECURE, clients=5),
    "secure-aggregation-with-a-drop-out": Case(*_SECURE, clients=5, run_config={"fails-in-round": 2}),
}
