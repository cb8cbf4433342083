"""Settings of the emulated sync clients, with the defaults of SyftBox."""

from dataclasses import dataclass

from syft_flwr.emulators.syftbox.sync_names import REALTIME


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """The behaviour of a SyftBox client, which differs between releases.

    Attributes:
        scan_interval: seconds from the end of one full scan to the start of the next (``sync_engine.go``). Newer
            releases vary it between 0.5 and 30 s with the activity.
        debounce: seconds without another write before a file is pushed (``file_watcher.go``).
        realtime_limit: largest size in bytes of a pushed file; larger files wait for the scan
            (``sync_engine_priority_upload.go``).
        realtime: patterns of the file names that are pushed.
        stage_apart: True writes received files in a separate folder and then moves them into place, as newer releases
            do. A file watcher then reports them as created. False writes them in the target folder, and a file
            watcher reports them as moved.
        prune: remove folders that become empty through a received deletion, as newer releases do.
        faithful: follow the real programs with all their races and losses, as ``emulators.syftbox.faithful`` describes.
            All their times scale with ``scan_interval``; its real value is 5 s.
        lock: hold the lock of the data folder as long as a client runs, in faithful mode. Programs then know that a
            client runs, and keep 5 GiB free on the disk of this machine.
        subscriptions: follow the subscriptions of SyftBox's development branch, in faithful mode.
    """

    scan_interval: float = 5.0
    debounce: float = 0.05
    realtime_limit: int = 4 << 20
    realtime: tuple[str, ...] = REALTIME
    stage_apart: bool = False
    prune: bool = True
    faithful: bool = False
    lock: bool = True
    subscriptions: bool = False
