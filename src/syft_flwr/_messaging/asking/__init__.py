"""The aggregator's side of the exchange: sends requests, waits for replies, and resumes an interrupted run."""

from syft_flwr._messaging.asking.aggregator_heartbeat import publish_withdrawals, record_withdrawal
from syft_flwr._messaging.asking.caller import Caller
from syft_flwr._messaging.asking.kept_answers import KeptAnswers, folders_of_runs
from syft_flwr._messaging.asking.outcomes import Outcome
from syft_flwr._messaging.asking.pending import Ask
from syft_flwr._messaging.asking.request_files import own_requests
from syft_flwr._messaging.asking.round_limits import RoundLimits
from syft_flwr._messaging.asking.wait_limits import WaitLimits

__all__ = [
    "Ask",
    "Caller",
    "KeptAnswers",
    "Outcome",
    "RoundLimits",
    "WaitLimits",
    "folders_of_runs",
    "own_requests",
    "publish_withdrawals",
    "record_withdrawal",
]
