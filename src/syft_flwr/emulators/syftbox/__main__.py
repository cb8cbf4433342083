"""Run the SyftBox emulator until SIGTERM or Ctrl-C.

::

    python -m syft_flwr.emulators.syftbox --root DIR --email A --email B
"""

import argparse
import signal
import sys
import threading
from pathlib import Path

from syft_flwr.console import print_text
from syft_flwr.emulators.syftbox import SyftBoxNetwork, SyncSettings
from syft_flwr.errors import SyftFlwrError


def main(arguments: list[str] | None = None) -> int:
    """Return 0 after a requested stop, and 2 if an argument is not allowed."""
    from rich.console import Console

    parser = argparse.ArgumentParser(
        prog="python -m syft_flwr.emulators.syftbox", description="Run an emulated SyftBox network."
    )
    parser.add_argument("--root", type=Path, required=True, help="folder that gets one subfolder for each participant")
    parser.add_argument(
        "--email", action="append", required=True, help="email of a participant; repeat the option for each one"
    )
    parser.add_argument(
        "--scan-interval", "--cycle", type=float, default=SyncSettings().scan_interval, metavar="SECONDS"
    )
    parser.add_argument("--debounce", type=float, default=SyncSettings().debounce, metavar="SECONDS")
    parser.add_argument("--faithful", action="store_true", help="follow the real programs with all their losses")
    parser.add_argument("--subscriptions", action="store_true", help="follow subscription files, in faithful mode")
    parser.add_argument(
        "--store-delay", type=float, default=0.0, metavar="SECONDS", help="time of each PUT, in faithful mode"
    )
    parser.add_argument(
        "--uplink", action="append", default=[], type=_rate, metavar="EMAIL=BYTES", help="bytes per second of a client"
    )
    options = parser.parse_args(arguments)
    named = {email.strip().lower() for email in options.email}
    for email, _ in options.uplink:
        if email not in named:
            parser.error(f"--uplink: no --email names {email!r}")
    stopped = threading.Event()
    console = Console(soft_wrap=True)
    try:
        network = _network(options)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        with network:
            for participant in network.participants.values():
                console.print(
                    f"{participant.email} SYFTBOX_CLIENT_CONFIG_PATH={participant.config_path}", highlight=False
                )
            console.print("running; stop with Ctrl-C", highlight=False)
            stopped.wait()
    except SyftFlwrError as error:
        print_text(Console(stderr=True), error.diagnose())
        return 2
    return 0


def _network(options: argparse.Namespace) -> SyftBoxNetwork:
    settings = SyncSettings(
        scan_interval=options.scan_interval,
        debounce=options.debounce,
        faithful=options.faithful,
        subscriptions=options.subscriptions,
    )
    network = SyftBoxNetwork(options.root, options.email, settings=settings)
    if options.store_delay or options.uplink:
        network.faithful.store.delay = options.store_delay
    for email, rate in options.uplink:
        network.faithful.uplink(email).rate = rate
    return network


def _rate(text: str) -> tuple[str, float]:
    email, _, rate = text.rpartition("=")
    return email.strip().lower(), float(rate)


if __name__ == "__main__":
    sys.exit(main())
