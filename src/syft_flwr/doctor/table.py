"""The table of checks. ``docs/cli.md`` shows it, so ``purpose`` is text for a person."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from syft_flwr.doctor import (
    app_check,
    clock_check,
    drive_checks,
    encryption_check,
    event_checks,
    home_checks,
    key_checks,
    reach_checks,
    settings_checks,
    syftbox_checks,
)
from syft_flwr.doctor.findings import Finding
from syft_flwr.doctor.subject import Subject


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its name, its purpose, and the function that makes it."""

    name: str
    purpose: str
    run: Callable[[Subject], Iterable[Finding]]
    #: The only transport for which the check exists; empty for all.
    transport: str = ""
    #: Whether it waits for another program, service or participant, so that ``--offline`` leaves it out.
    is_slow: bool = False
    #: Whether ``server`` and ``client`` make it at their start too.
    at_start: bool = False
    #: Whether its good result is left out beside a problem. Not for a check of several things.
    hides_ok: bool = True
    #: Seconds after which it is given up, and the advice then.
    limit: float = 10.0
    late: str = ""


CHECKS: tuple[Check, ...] = (
    Check(
        "settings",
        "Each setting can be read; its source is named.",
        settings_checks.check_settings,
        at_start=True,
        hides_ok=False,
    ),
    Check(
        "project",
        "The project is a Flower app that this package can run.",
        settings_checks.check_project,
        at_start=True,
    ),
    Check(
        "app",
        "The app of this participant can be loaded.",
        app_check.check_app,
        is_slow=True,
        limit=80.0,
        late="Import its module by hand, to see why.",
        at_start=True,
        hides_ok=False,
    ),
    Check("role", "The email has a part in the project.", settings_checks.check_role, at_start=True),
    Check(
        "home-modes",
        "Only this user can read the keys and the home.",
        home_checks.check_home_modes,
        at_start=True,
    ),
    Check(
        "home-disk",
        "The home is on a disk of this machine.",
        home_checks.check_home_disk,
        at_start=True,
    ),
    Check(
        "home-writes",
        "Files in the home can be written, locked, linked and shared between processes.",
        home_checks.check_home_writes,
    ),
    Check(
        "home-space",
        "The disk of the home has room.",
        home_checks.check_home_space,
        at_start=True,
    ),
    Check(
        "databases",
        "The databases of runs can be read, and no process keeps a database locked.",
        home_checks.check_databases,
        at_start=True,
        limit=35.0,
        hides_ok=False,
    ),
    Check(
        "keys",
        "The own keys can be read, the published card has the same ones, and no copy of the home is in use.",
        key_checks.check_own_keys,
        limit=20.0,
        at_start=True,
        hides_ok=False,
    ),
    Check(
        "peers",
        "The key of each peer has arrived, and is the pinned one.",
        key_checks.check_peers,
        limit=20.0,
        hides_ok=False,
    ),
    Check(
        "encryption",
        "No peer had another setting of encryption at its last message.",
        encryption_check.check_encryption,
        limit=30.0,
    ),
    Check(
        "syftbox-folder",
        "The data folder is that of this participant.",
        syftbox_checks.check_folder,
        "syftbox",
        at_start=True,
    ),
    Check(
        "syftbox-client",
        "The SyftBox client of the folder runs.",
        syftbox_checks.check_client,
        "syftbox",
        at_start=True,
    ),
    Check(
        "syftbox-api",
        "The local API of the SyftBox client, which only `syftbox daemon` has, says that the datasite works.",
        syftbox_checks.check_api,
        "syftbox",
        is_slow=True,
    ),
    Check(
        "syftbox-sync",
        "The SyftBox client takes over a probe file, which is deleted again.",
        syftbox_checks.check_sync,
        "syftbox",
        is_slow=True,
        limit=30.0,
        late="Try again. If this stays so, restart the SyftBox client.",
    ),
    Check(
        "subscriptions",
        "The SyftBox client syncs the files of the peers.",
        syftbox_checks.check_subscriptions,
        "syftbox",
        limit=15.0,
        at_start=True,
    ),
    Check(
        "permissions",
        "The permission files let the peers read and write the files of messages.",
        syftbox_checks.obstacle_check("no permission file of yours is in the way", "permissions"),
        "syftbox",
        at_start=True,
    ),
    Check(
        "ignored-files",
        "No line of `syftignore`, and no path of the data folder, keeps files from being synced.",
        syftbox_checks.obstacle_check("no file of messages is ignored", "ignored-files"),
        "syftbox",
        at_start=True,
    ),
    Check(
        "emails",
        "No email of a participant begins with the email of another one, which SyftBox would let into its files.",
        syftbox_checks.obstacle_check("no email begins with another one", "emails"),
        "syftbox",
        at_start=True,
    ),
    Check(
        "syftbox-space",
        "The disk has the free space below which SyftBox syncs nothing.",
        syftbox_checks.obstacle_check("SyftBox has room on the disk", "free-space"),
        "syftbox",
        at_start=True,
    ),
    Check("file-events", "The kernel reports changes of the shared folder.", event_checks.check_events, "syftbox"),
    Check(
        "drive-login",
        "The login to Google Drive is that of this participant, and lets it write and read files.",
        drive_checks.check_login,
        "p2p",
        is_slow=True,
        limit=30.0,
        late="Check the connection to the internet, and whether a proxy is needed.",
        at_start=True,
    ),
    Check(
        "drive-space",
        "The Google account has room for messages.",
        drive_checks.check_drive_space,
        "p2p",
        is_slow=True,
        limit=30.0,
    ),
    Check(
        "clock",
        "The clock agrees with Google's, with those of the peers, and with the last start here.",
        clock_check.check_clock,
        limit=40.0,
    ),
    Check(
        "peers-running",
        "The process of each peer runs. At an aggregator without a running server, each data owner replies to a ping.",
        reach_checks.check_reach,
        is_slow=True,
        limit=85.0,
        hides_ok=False,
    ),
    Check(
        "releases",
        "The peers have the same releases of syft-flwr and of Flower.",
        reach_checks.check_versions,
        is_slow=True,
        limit=85.0,
        hides_ok=False,
    ),
)
