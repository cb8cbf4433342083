"""What a participant records on its own disk: SQLite databases, and the file of its private keys."""
