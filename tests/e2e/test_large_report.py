"""The report of a large run is complete, small and made in bounded time."""

import time
from pathlib import Path

from synthetic_runs import SyntheticHome, emails, training

from syft_flwr import write_report

#: CPU seconds of the report: some 5 s on one core.
_MOST_SECONDS = 40


def test_report_of_many_requests_is_complete_and_small(tmp_path: Path) -> None:
    home = SyntheticHome(tmp_path)
    home.serve(seconds=600)
    home.record(training(emails(200), 100))
    run = home.open()

    began = time.process_time()
    page = write_report(run, tmp_path / "report.html").read_text(encoding="utf-8")

    assert time.process_time() - began < _MOST_SECONDS
    assert len(page.encode()) < 5_000_000
    assert "40,000 of 40,000" in page
    # Each request has a row, and each data owner a bar in both widths.
    requests = page[page.index('<section id="requests"') : page.index('<section id="configuration"')]
    assert requests.count("<tr><th>") == 40_000 + 100
    timeline = page[page.index('<section id="timeline"') : page.index('<section id="data-owners"')]
    assert timeline.count("200 requests, ") == 2 * 200
    # Each metric has the value of each data owner in each round.
    metrics = page[page.index('<section id="metrics"') : page.index('<section id="timeline"')]
    assert metrics.count("<td>") >= 6 * 200 * 100
