"""Event files, which TensorBoard reads: events in the form of TensorFlow, each with its length and two checksums."""

import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from syft_flwr.files import no_link
from syft_flwr.private_files import open_private
from syft_flwr.runs.entry import MAX_LINE

_LENGTH, _CHECKSUM = struct.Struct("<Q"), struct.Struct("<I")
#: A reader expects it in the first event.
_VERSION = "brain.Event:2"
#: No event here is longer than the line of the record from which it was made, by far.
_MOST = 2 * MAX_LINE
_NAME = "events.out.tfevents."


class EventFile:
    """Appends events to a new file. Not thread-safe.

    Args:
        folder: the folder of the file.
        suffix: makes the name of the file unique.

    Raises:
        OSError: the file cannot be created.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        from tensorboardX.proto.event_pb2 import Event

        now = time.time()
        # A reader takes the files in the order of their names.
        path = folder / f"{_NAME}{now:017.6f}.{socket.gethostname()}.{suffix}"
        self._fd = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC)
        self._size = 0
        try:
            self.append([Event(wall_time=now, file_version=_VERSION)])
        except OSError:
            os.close(self._fd)
            raise

    def append(self, events: Sequence[Any]) -> None:
        """Write these events: all of them, or none.

        Raises:
            OSError: they cannot be written.
        """
        data = b"".join(_framed(event.SerializeToString()) for event in events)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        os.close(self._fd)


def event_files(folder: Path) -> list[Path]:
    """Return the event files of a folder, oldest first."""
    return sorted(folder.glob(f"{_NAME}*"))


def read_events(path: Path) -> Iterator[Any]:
    """Yield the events of a file, up to its end or to an event that is not complete.

    Raises:
        OSError: the file cannot be read.
    """
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event

    with open(path, "rb", opener=no_link) as file:
        while len(head := file.read(_LENGTH.size + _CHECKSUM.size)) == _LENGTH.size + _CHECKSUM.size:
            (length,) = _LENGTH.unpack_from(head)
            if length > _MOST:
                return
            data = file.read(length + _CHECKSUM.size)
            if len(data) < length + _CHECKSUM.size:
                return
            try:
                event = Event.FromString(data[:length])
            except DecodeError:
                return
            yield event


def _framed(data: bytes) -> bytes:
    from tensorboardX.record_writer import masked_crc32c

    length = _LENGTH.pack(len(data))
    return length + _CHECKSUM.pack(masked_crc32c(length)) + data + _CHECKSUM.pack(masked_crc32c(data))
