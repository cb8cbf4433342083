"""Measure the limit of the machine: the shortest time for an exchange of the same bytes in encrypted files.

In one round the server encrypts the model and writes it once. Each client reads and decrypts it, then encrypts and
writes a reply of the same size. The server reads and decrypts all replies. The encryption is AES-256-GCM over segments
of 1 MiB, in files of 16 MiB, without hashes, signatures or records.

The server is this process, and each client is a separate process. They announce their files through pipes. The number
of threads is the number of cores, divided among the processes that work at the same time.

The measurement runs in two ways. *bare*: files are not synced to disk, and all segments are decrypted into one small
buffer. *kept*: all files are synced to disk, and the segments are decrypted into new memory for the whole message.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from measuring.plan import Plan
from measuring.result import Times

_SEGMENT = 1 << 20
_TAG = 16
_PART = 16 << 20
_KEY = bytes(32)


class _Machine:
    """One participant, with a model and threads that write and read its parts.

    Args:
        folder: folder for all files.
        size: size of the model in bytes.
        threads: number of parts that are processed at the same time.
        keep: sync files to disk, and decrypt into new memory.
    """

    def __init__(self, folder: Path, size: int, threads: int, *, keep: bool) -> None:
        self._folder = folder
        self._size = size
        self._keep = keep
        self._model = memoryview(os.urandom(min(size, _PART)) * -(-size // _PART))[:size]
        self._starts = range(0, size, _PART)
        self._executor = ThreadPoolExecutor(threads)
        self._cipher = AESGCM(_KEY)

    def write(self, name: str) -> None:
        """Encrypt the model into files with the given name and the start of each part."""
        list(self._executor.map(lambda start: self._write_part(name, start), self._starts))

    def read(self, name: str) -> None:
        """Read and decrypt the files of :meth:`write`."""
        whole = memoryview(bytearray(self._size)) if self._keep else None
        list(self._executor.map(lambda start: self._read_part(name, start, whole), self._starts))

    def delete(self, name: str) -> None:
        for start in self._starts:
            (self._folder / f"{name}-{start}").unlink()

    def close(self) -> None:
        self._executor.shutdown()

    def _write_part(self, name: str, start: int) -> None:
        part = self._model[start : start + _PART]
        sealed = memoryview(bytearray(min(_SEGMENT, len(part)) + _TAG))
        with (self._folder / f"{name}-{start}").open("wb", buffering=0) as file:
            for number, offset in enumerate(range(0, len(part), _SEGMENT)):
                segment = part[offset : offset + _SEGMENT]
                target = sealed[: len(segment) + _TAG]
                self._cipher.encrypt_into(number.to_bytes(12, "big"), segment, None, target)
                file.write(target)
            if self._keep:
                os.fsync(file.fileno())

    def _read_part(self, name: str, start: int, whole: memoryview | None) -> None:
        size = min(_PART, self._size - start)
        sealed = memoryview(bytearray(min(_SEGMENT, size) + _TAG))
        small = memoryview(bytearray(min(_SEGMENT, size)))
        with (self._folder / f"{name}-{start}").open("rb", buffering=0) as file:
            for number, offset in enumerate(range(0, size, _SEGMENT)):
                length = min(_SEGMENT, size - offset)
                count = file.readinto(sealed[: length + _TAG])
                opened = small[:length] if whole is None else whole[start + offset : start + offset + length]
                self._cipher.decrypt_into(number.to_bytes(12, "big"), sealed[:count], None, opened)


@dataclass(frozen=True, slots=True)
class Limit:
    """The round times of both measurements."""

    bare: Times
    kept: Times


def measure(plan: Plan) -> Limit:
    """Return the round times of a plan with only the machine."""
    return Limit(_measure(plan, keep=False), _measure(plan, keep=True))


def _measure(plan: Plan, *, keep: bool) -> Times:
    """Return the times of all rounds, after a first round that is not counted."""
    cores = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder, ExitStack() as stack:
        server = _Machine(Path(folder), plan.size, cores, keep=keep)
        stack.callback(server.close)
        threads = -(-cores // plan.datasites)
        clients = [_start_client(folder, f"reply{n}", plan.size, threads, keep=keep) for n in range(plan.datasites)]
        for client in clients:
            stack.callback(_end_client, client)
            _pipes(client)[1].readline()
        seconds = [_round(server, clients) for _ in range(plan.rounds + 1)]
    return Times(seconds[1:])


def _round(server: _Machine, clients: "Sequence[subprocess.Popen[bytes]]") -> float:
    start = time.perf_counter()
    server.write("model")
    for client in clients:
        _pipes(client)[0].write(b"model\n")
    replies = [_pipes(client)[1].readline().decode().strip() for client in clients]
    for reply in replies:
        server.read(reply)
    elapsed = time.perf_counter() - start
    for name in ("model", *replies):
        server.delete(name)
    return elapsed


def _start_client(folder: str, reply: str, size: int, threads: int, *, keep: bool) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", __name__, folder, reply, str(size), str(threads), str(int(keep))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)


def _end_client(client: "subprocess.Popen[bytes]") -> None:
    with client:
        client.kill()


def _pipes(client: "subprocess.Popen[bytes]") -> tuple[BinaryIO, BinaryIO]:
    if client.stdin is None or client.stdout is None:
        raise RuntimeError("the client was started without pipes")
    return client.stdin, client.stdout  # type: ignore[return-value]


def main() -> None:
    """Run one client: print ``ready``, then send a reply for each model that standard input names."""
    folder, reply, size, threads, keep = sys.argv[1:]
    machine = _Machine(Path(folder), int(size), int(threads), keep=keep == "1")
    print("ready", flush=True)
    for line in sys.stdin:
        machine.read(line.strip())
        machine.write(reply)
        print(reply, flush=True)


if __name__ == "__main__":
    main()
