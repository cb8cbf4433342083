"""Run the Google Drive emulator until SIGTERM or Ctrl-C.

::

    python -m syft_flwr.emulators.gdrive --tokens DIR --user A --user B

When the server is ready, it prints one line of JSON with its address and the paths of the token files.
"""

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from syft_flwr.emulators.gdrive import Emulator, Latency

_LATENCIES = {"none": Latency.NONE, "real": Latency.REAL}


def main(arguments: list[str] | None = None) -> int:
    """Return 0 after a requested stop."""
    parser = argparse.ArgumentParser(
        prog="python -m syft_flwr.emulators.gdrive", description="Run the Google Drive emulator."
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 chooses a free one")
    parser.add_argument("--tokens", type=Path, required=True, help="folder for the token files, one for each user")
    parser.add_argument(
        "--user", action="append", required=True, help="email of a user; repeat the option for each one"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--until-stdin-closes", action="store_true", help="also stop when standard input is closed")
    parser.add_argument("--latency", choices=sorted(_LATENCIES), default="none")
    options = parser.parse_args(arguments)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    if options.until_stdin_closes:
        threading.Thread(target=_wait_for_the_end_of_input, args=(stopped,), daemon=True).start()
    options.tokens.mkdir(parents=True, exist_ok=True)
    with Emulator(users=options.user, port=options.port, seed=options.seed) as emulator:
        emulator.latency = _LATENCIES[options.latency]
        tokens = {email: options.tokens / f"{email}.json" for email in options.user}
        for email, path in tokens.items():
            emulator.write_token(email, path)
        ready = {"url": emulator.url, "tokens": {email: str(path) for email, path in tokens.items()}}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        stopped.wait()
    return 0


def _wait_for_the_end_of_input(stopped: threading.Event) -> None:
    sys.stdin.buffer.read()
    stopped.set()


if __name__ == "__main__":
    sys.exit(main())
