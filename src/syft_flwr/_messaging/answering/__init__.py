"""The data owner's side of the exchange: accepts each request once and writes one committed reply to it."""

from syft_flwr._messaging.answering.answers import ReplyReport
from syft_flwr._messaging.answering.closing import close_what_is_over
from syft_flwr._messaging.answering.inbox import Request
from syft_flwr._messaging.answering.inbox_folder import replies_that_are_over
from syft_flwr._messaging.answering.responder import Control, Responder

__all__ = ["Control", "ReplyReport", "Request", "Responder", "close_what_is_over", "replies_that_are_over"]
