"""Records of each run for people and scripts: its status, its end, and the cost of its messages."""
