"""The logger of this package. A record is escaped before any destination gets it.

So a text of a peer is harmless also where this package does not choose the destination: in a notebook, loguru writes to the
standard error by default. The patch belongs to this logger alone. It does not change the records of other packages.
"""

from typing import TYPE_CHECKING

import loguru

from syft_flwr.text import log_entry

if TYPE_CHECKING:
    from loguru import Record


def _clean(record: "Record") -> None:
    record["message"] = log_entry(record["message"])


logger = loguru.logger.patch(_clean)
