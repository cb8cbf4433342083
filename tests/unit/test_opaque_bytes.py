"""Bytes and names of a peer that only look like arrays, archives or code: nothing opens or evaluates them."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from syft_flwr._messaging.wire.limits import MAX_ERROR_TEXT
from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.codec import (
    array_bytes,
    message_from_buffers,
    records_from_buffers,
    records_message_to_buffers,
    records_to_buffers,
)
from syft_flwr.fl_orchestrator.labels import error_of, record_names, round_of

_NUMPY = "numpy.ndarray"
_MAGIC = b"\x93NUMPY\x01\x00"


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def bombs(marker: Path) -> dict[str, bytes]:
    """Return bytes that make the folder ``marker`` if anything unpickles them."""
    code = pickle.dumps(_Bomb(str(marker)))
    objects, archive = io.BytesIO(), io.BytesIO()
    np.save(objects, np.array([_Bomb(str(marker))], dtype=object), allow_pickle=True)
    np.savez(archive, a=np.array([_Bomb(str(marker))], dtype=object))
    assert pickle.dumps(None)
    return {
        "a pickle": code,
        "an array of objects": objects.getvalue(),
        "an array of objects of another type": objects.getvalue().replace(b"|O", b"<O"),
        "an archive": archive.getvalue(),
        "an old pickle": pickle.dumps(_Bomb(str(marker)), protocol=0),
        "code in a header": _MAGIC + b"\x76\x00" + f"{{'descr': __import__('os').mkdir({str(marker)!r})}}".encode(),
        "a pickle behind the magic": _MAGIC + code,
        "nearly the magic": b"\x93NUMPX\x01\x00" + code,
        "the magic in capitals": b"\x93numpy\x01\x00" + code,
        "nothing": b"",
    }


KINDS = list(bombs(Path("unused")))


def records_with(data: bytes, stype: str = _NUMPY, dtype: str = "float32") -> RecordDict:
    """Return records with these bytes in each place that can have bytes, but an empty array."""
    return RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(dtype, (1,), stype, b"")}),
            "config": ConfigRecord({"server-round": data, "many": [data, data], "code": 1}),
            "fitres.status": ConfigRecord({"code": 7, "message": data}),
            "metrics": MetricRecord({"loss": 0.5}),
        }
    )


def read_all(head: list[bytes], data: bytes) -> Message:
    """Read a message with ``data`` as its array, and the same records as a state, as both sides do."""
    message = message_from_buffers([head[0], data])
    assert (round_of(message), array_bytes(message)) == ("", len(data))
    assert (len(record_names(message)), error_of(message)[:6]) == (4, "code 7")
    return message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stype", [_NUMPY, "pickle", "torch.save"])
def test_no_bytes_of_a_peer_are_unpickled(kind: str, stype: str, tmp_path: Path) -> None:
    marker = tmp_path / "unpickled"
    data = bombs(marker)[kind]
    records = records_with(data, stype)
    refused = data.startswith(_MAGIC[:6])
    for head, read in (
        (records_message_to_buffers(records), lambda head: read_all(head, data).content),
        (records_to_buffers(records), lambda head: records_from_buffers([head[0], data])),
    ):
        if refused:
            with pytest.raises(MalformedError, match=r"^record 'arrays', key 'w' is refused: an array "):
                read(head)
        else:
            found = read(head)
            assert found["arrays"]["w"].data == found["config"]["server-round"] == data
            if data and stype == _NUMPY:
                with pytest.raises((ValueError, KeyError, AttributeError, TypeError, EOFError)):
                    np.asarray(found["arrays"]["w"].numpy()).sum()
    assert not marker.exists()
    pickle.loads(bombs(marker)["a pickle"])
    assert marker.exists()


NAMES = {
    "control characters": "\x1b]52;c;eA==\x07\n",
    "a right-to-left override": "\u202egnp.exe",
    "1 MB": "x" * 1_000_000,
    "blanks": "\u3164\u2800",
}


@pytest.mark.parametrize("kind", NAMES)
def test_error_about_an_array_names_its_place_in_one_short_line(kind: str) -> None:
    name = NAMES[kind]
    wrong = io.BytesIO()
    np.save(wrong, np.zeros(3))
    records = RecordDict({name: ArrayRecord({name: Array(name, (9,), _NUMPY, b"")})})
    (head, _) = records_message_to_buffers(records)

    with pytest.raises(MalformedError) as caught:
        message_from_buffers([head, wrong.getvalue()])

    text = str(caught.value)
    assert text.startswith("record '")
    assert text.isprintable()
    assert len(text) <= MAX_ERROR_TEXT
    # Other bytes under the same names are no array of NumPy, and pass.
    message = message_from_buffers([head, b"opaque"])
    assert len(record_names(message)[0]) <= 100
