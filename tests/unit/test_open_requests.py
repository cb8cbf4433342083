"""``OpenRequests`` knows the open requests of a data owner."""

from datetime import UTC, datetime, timedelta

from syft_flwr._messaging.answering.open_requests import OpenRequest, OpenRequests
from syft_flwr.testing import FakeClock

_NOW = datetime(2030, 1, 1, tzinfo=UTC)


def _add(requests: OpenRequests, message_id: str) -> OpenRequest | None:
    return requests.add(
        message_id, "ds@x.org", f"{message_id}.request", expires=_NOW + timedelta(hours=1), received=_NOW, taken=True
    )


def test_no_request_is_added_after_the_wait_for_the_end() -> None:
    requests = OpenRequests(FakeClock(_NOW))
    known = _add(requests, "a")
    requests.wait_until_closed(lambda: "a", timeout=1.0)
    assert _add(requests, "b") is None
    assert _add(requests, "a") == known
    assert [request.id for request in requests.all()] == ["a"]
