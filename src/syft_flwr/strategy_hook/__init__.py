"""Reports the metrics and the number of rounds that exist only inside Flower's ``Strategy.start`` and ``Server.fit``.

One call of ``start`` or ``fit`` is a *training*. Each metric of a training is reported once, also if the training calls
another one. While a hook is open, methods of six public classes of Flower have wrappers; the app's classes do not change.
"""

from syft_flwr.strategy_hook.open_hook import StrategyReports
from syft_flwr.strategy_hook.wrappers import following_strategies

__all__ = ["StrategyReports", "following_strategies"]
