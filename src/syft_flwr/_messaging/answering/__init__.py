"""The data owner's side of the exchange: takes each request once, and gives it one committed answer."""

from syft_flwr._messaging.answering.inbox import Request
from syft_flwr._messaging.answering.responder import Control, Responder

__all__ = ["Control", "Request", "Responder"]
