"""Flower's examples: their folders, smaller run configurations, and the files that they leave."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Example:
    """One example: its package, its run configuration for a test, and the files that the server writes into the current folder."""

    name: str
    package: str
    results: tuple[str, ...] = ()
    run_config: dict[str, Any] = field(default_factory=dict)
    clients: tuple[int, ...] = (2, 3)
    #: Whether each data owner has a database of its own.
    databases: bool = False

    def node_configs(self, clients: int, data: Path) -> list[dict[str, Any]]:
        """Return the values that each data owner sets beside its partition."""
        if not self.databases:
            return []
        return [{"db-url": f"sqlite:///{data}/measures-{partition}.db"} for partition in range(clients)]


_ROUNDS = {"num-server-rounds": 2}
_MODEL = ("final_model.pt",)

EXAMPLES = {
    example.name: example
    for example in (
        Example("quickstart-pytorch", "pytorchexample", _MODEL, _ROUNDS),
        Example(
            "quickstart-xgboost",
            "quickstart_xgboost",
            ("final_model.json",),
            {**_ROUNDS, "fraction-train": 1.0, "fraction-evaluate": 1.0, "params.nthread": 1},
        ),
        Example("quickstart-sklearn", "sklearnexample", ("logreg_model.pkl",), _ROUNDS),
        Example("quickstart-pandas", "pandas_example", (), _ROUNDS),
        Example("fl-tabular", "fltabular", _MODEL, _ROUNDS),
        Example("advanced-pytorch", "pytorch_example", _MODEL, {**_ROUNDS, "fraction-train": 1.0}),
        Example("custom-mods", "custom_mods", _MODEL, _ROUNDS),
        Example("federated-analytics", "federated_analytics", ("aggregated_stats.json",), databases=True),
        Example("vertical-fl", "vertical_fl", (), {"num-server-rounds": 3}, clients=(3,)),
    )
}
