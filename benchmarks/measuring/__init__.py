"""One round of messages and back, measured: over this package's files, over Flower's own deployment, and by the bare machine."""
