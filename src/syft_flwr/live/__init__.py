"""Shows a run while it runs: a live table in a terminal, one output that changes in a notebook, lines elsewhere."""
