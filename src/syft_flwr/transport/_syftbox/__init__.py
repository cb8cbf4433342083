"""The parts of the SyftBox transport: its files, the SyftBox client beside this process, and checks of both before a start."""
