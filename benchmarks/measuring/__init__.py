"""Measurements of rounds: with syft_flwr, with Flower's own deployment, and with only the machine as a limit."""
