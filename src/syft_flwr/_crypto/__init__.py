"""Identities, sealing, signing, and the segment stream of objects: pure functions over bytes."""
