"""How the sync clients work; the defaults are SyftBox's own."""

from dataclasses import dataclass

from syft_flwr.emulators.syftbox.sync_names import REALTIME


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """What a release of SyftBox fixes.

    Attributes:
        scan_interval: seconds from the end of one full scan to the next (``sync_engine.go``; newer releases vary it
            between 0.5 and 30 s with the activity).
        debounce: seconds without a further write before a watched file is uploaded (``file_watcher.go``).
        realtime_limit: bytes above which a file waits for the scan (``sync_engine_priority_upload.go``).
        realtime: patterns of the file names that go at once.
        stage_apart: received files are written in a folder of their own and moved in, as newer releases do, so that a
            watcher sees them created; otherwise beside their place, so that it sees them moved.
        prune: remove folders that a received deletion leaves empty, as newer releases do.
    """

    scan_interval: float = 5.0
    debounce: float = 0.05
    realtime_limit: int = 4 << 20
    realtime: tuple[str, ...] = REALTIME
    stage_apart: bool = False
    prune: bool = True
