"""The SyftBox client beside this process: its state, its subscriptions, and the checks of both before a start."""
