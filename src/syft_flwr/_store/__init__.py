"""The state of a participant on its own disk: SQLite databases and the file with its private keys."""
