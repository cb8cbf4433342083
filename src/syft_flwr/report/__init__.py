"""The report of a run: one HTML file with its outcome, metrics, timeline, failures and configuration."""
