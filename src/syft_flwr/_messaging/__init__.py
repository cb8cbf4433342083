"""Requests and replies over any transport, in three wings: ``wire``, ``asking`` and ``answering``."""
