"""Requests and replies over any transport.

``wire`` has the bytes of the protocol, ``asking`` the aggregator's side, ``answering`` the data owner's side.
"""
