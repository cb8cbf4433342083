"""The frames of the websocket, with their length and limits (``ws_hub.go``, ``events_socket.go``, ``msg_file.go``)."""

import json
from dataclasses import dataclass

#: The server closes the connection at a longer frame, and the client would too.
MAX_FRAME = 4 << 20
#: Places in the queue of a client's sender, and in the queue of the server for each client.
QUEUE = 8
#: Places in the two queues of a receiving client together.
RECEIVER_QUEUE = 8 + 16
#: Bytes of frames per second that a client encodes and sends where its uplink has no limit. It was measured over
#: loopback, with files of 2.9 MB.
RATE = 40e6
_DIGITS_OF_MD5 = 32


@dataclass(frozen=True, slots=True)
class Frame:
    """One message of the websocket: a pushed file, or the refusal of one.

    Attributes:
        name: path of the file below ``datasites``.
        etag: SHA-256 of the content, in hex.
        content: the whole file.
        sender: email of the participant that pushed it.
        refused: whether the server tells the sender that it may not write this file.
    """

    name: str
    etag: str
    content: bytes
    sender: str
    refused: bool = False

    @property
    def size(self) -> int:
        """Return the length in bytes as SyftBox sends it: JSON with the content in base64."""
        data = {"pth": self.name, "etg": "0" * _DIGITS_OF_MD5, "len": len(self.content), "con": ""}
        bare = json.dumps({"id": "000000", "typ": 2, "dat": data}, separators=(",", ":"), ensure_ascii=False)
        return len(bare.encode()) + 4 * -(-len(self.content) // 3) + 1
