"""Bytes that others wrote: what every reader must do with them, the readers, and where good input begins."""
