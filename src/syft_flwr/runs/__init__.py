"""The account of each run, for every reader: where it stands, how it ended, and the cost of its messages."""
