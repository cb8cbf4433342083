"""One account of each run, for every reader: where it stands, how it ended, and what its messages cost."""
