"""Key pairs, signatures and encryption, as pure functions over bytes: no files, no clock."""
