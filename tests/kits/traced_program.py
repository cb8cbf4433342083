"""A program whose network calls are recorded by ``strace``: those of Python, of C libraries and of its children.

An audit hook of Python would not see the connections of gRPC, which Flower imports.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

#: Name resolution is a connection, too: to the address of a name server.
_CALLS = "connect,bind,listen,sendto,sendmsg,sendmmsg"
_INTERNET = re.compile(r"sa_family=AF_INET6?, sin6?_port=htons\((\d+)\).*?inet_(?:addr\(|pton\(AF_INET6, )\"([^\"]+)\"")
_LISTENING = re.compile(r"\b(?:listen\(|bind\(\d+, \{sa_family=AF_INET)")


def can_trace() -> bool:
    """Return whether this machine has ``strace``, and this user may trace a program."""
    program = shutil.which("strace")
    if not program:
        return False
    done = subprocess.run(
        [program, "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect", "true"], check=False, capture_output=True
    )
    return done.returncode == 0


def traced(command: Sequence[str], trace: Path) -> list[str]:
    """Return the command with a recorder in front of it, which writes to the file ``trace``."""
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={_CALLS}", "-o", str(trace), *command]


def addresses_in(trace: Path) -> set[tuple[str, int]]:
    """Return the addresses of all internet connections and packets."""
    found = _INTERNET.findall(trace.read_text(errors="replace"))
    return {(address, int(port)) for port, address in found}


def ports_in(trace: Path) -> list[str]:
    """Return the calls that open a port."""
    return [line for line in trace.read_text(errors="replace").splitlines() if _LISTENING.search(line)]
