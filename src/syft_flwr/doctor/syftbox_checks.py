"""Checks of SyftBox on this machine: those that each start makes, one by one, and whether the client really syncs."""

import re
from collections.abc import Callable, Iterator

from syft_flwr.config.sources import read_syftbox_config
from syft_flwr.doctor.blocked import SETTINGS, SYFTBOX_CLIENT, SYFTBOX_FOLDER, BlockedError
from syft_flwr.doctor.findings import Finding, ok, problem, problem_of, skipped, unknown
from syft_flwr.doctor.subject import Subject
from syft_flwr.doctor.sync_probe import seconds_until_synced
from syft_flwr.errors import ConfigError
from syft_flwr.names import card
from syft_flwr.transport._syftbox.daemon import Daemon
from syft_flwr.transport._syftbox.daemon_api import DaemonApi
from syft_flwr.transport._syftbox.start_checks import find_obstacles, is_of

#: Seconds in which a client that runs takes over a new file: it scans every 5 s. The same for one that seems not to run.
_PATIENCE, _SHORT = 20.0, 8.0
#: The status of a datasite that works, and the form of each status.
_GOOD = "PROVISIONED"
_STATUS = re.compile(r"[A-Z_]{1,32}")
_SHARED = "no SyftBox client is expected: the participants share one folder"


def check_folder(subject: Subject) -> Iterator[Finding]:
    """Find a data folder that is missing, or that belongs to another SyftBox client."""
    daemon = _daemon(subject)
    if not daemon.datasites.is_dir():
        yield problem(
            f"the SyftBox data folder {daemon.data_dir} has no folder datasites",
            "Start the SyftBox client once, or correct data_dir: SYFTBOX_FOLDER, or 'data_dir' in its config.",
        )
        return
    yield from _obstacles(subject, "folders", "private-folders", "config", "datasite")
    config = f"the config file {daemon.config_path}"
    if not daemon.config_path.exists():
        config += " is not there, and the environment names email and folder"
    else:
        try:
            read_syftbox_config(daemon.config_path)
        except ConfigError as error:
            yield problem_of(error)
        config += " of the SyftBox client can be read"
    yield ok(f"{daemon.datasites} is there; {config}")


def check_client(subject: Subject) -> Iterator[Finding]:
    """Find a SyftBox client that should run, and does not."""
    daemon = _daemon(subject)
    _require_folder(daemon)
    yield from _obstacles(subject, "client")
    yield ok(f"a SyftBox client runs for {daemon.data_dir}" if daemon.running else _SHARED)


def check_api(subject: Subject) -> Iterator[Finding]:
    """Ask the local API of the client for the state of its datasite. Only a client that was started as daemon has one."""
    daemon = _daemon(subject)
    if not daemon.is_expected:
        yield skipped(_SHARED)
        return
    if not daemon.running:
        raise BlockedError("no SyftBox client runs", SYFTBOX_CLIENT)
    api = DaemonApi.of(daemon.config)
    status = api.get("/v1/status") if api else None
    if status is None or status.status != 200:
        yield unknown("the SyftBox client has no local API that answers; only `syftbox daemon` has one")
        return
    if not is_of(daemon, status.content):
        yield unknown("the local API belongs to the SyftBox client of another participant or folder")
        return
    state = status.content["datasite"].get("status")
    if not isinstance(state, str) or not _STATUS.fullmatch(state):
        yield unknown("the local API of the SyftBox client tells no status")
    elif state == _GOOD:
        yield ok(f"the local API says that the datasite is {state}")
    else:
        yield problem(
            f"the local API says that the datasite of {daemon.email} is {state}",
            "Read the log of the SyftBox client, and log in to SyftBox again if it asks for that.",
        )


def check_sync(subject: Subject) -> Iterator[Finding]:
    """Write a probe file, and find a client that does not take it over."""
    daemon = _daemon(subject)
    if not daemon.is_expected:
        yield skipped(_SHARED)
        return
    _require_folder(daemon)
    if not (daemon.datasites / daemon.email).is_dir():
        raise BlockedError(f"{daemon.email} has no datasite yet", "" if daemon.running else SYFTBOX_CLIENT)
    limit = _PATIENCE if daemon.running else _SHORT
    seconds = seconds_until_synced(daemon.datasites, daemon.email, limit)
    if seconds is not None:
        yield ok(f"the SyftBox client took over a probe file after {seconds:.1f} s, and its server responded")
    elif daemon.running:
        yield problem(
            f"the SyftBox client runs, but took over no probe file within {limit:.0f} s",
            "Read its log: it may be logged out, or reach no server. A large transfer also delays all other files; then "
            "run the doctor again later.",
        )
    else:
        yield skipped(f"no SyftBox client took over a probe file within {limit:.0f} s", SYFTBOX_CLIENT)


def check_subscriptions(subject: Subject) -> Iterator[Finding]:
    """Find subscriptions that block files of a peer."""
    daemon = _daemon(subject)
    arrived = all((daemon.datasites / card(peer)).is_file() for peer in subject.peers)
    for obstacle in find_obstacles(subject.known, subject.peers, "subscriptions"):
        found = problem_of(obstacle.problem)
        if arrived and daemon.running and not obstacle.stops:
            # The client of SyftBox's main branch does not read the file.
            found = unknown(
                f"{found.text}; but files of the peers are here, so this client may ignore the file", found.fix
            )
        yield found
    yield ok("no subscription blocks a peer")


def obstacle_check(good: str, *names: str) -> Callable[[Subject], Iterator[Finding]]:
    """Return a check that makes some checks of a start; ``good`` is its text if they find nothing."""

    def check(subject: Subject) -> Iterator[Finding]:
        _require_folder(_daemon(subject))
        yield from _obstacles(subject, *names)
        yield ok(good)

    return check


def _obstacles(subject: Subject, *names: str) -> Iterator[Finding]:
    for obstacle in find_obstacles(subject.known, subject.peers, *names):
        yield problem_of(obstacle.problem)


def _daemon(subject: Subject) -> Daemon:
    """Return the SyftBox client of the participant; BlockedError if the settings do not name its folder."""
    subject.email  # noqa: B018 - raises BlockedError
    if subject.known.data_dir is None:
        raise BlockedError("the SyftBox data folder is not known", SETTINGS)
    return Daemon.look(subject.known)


def syncs_nothing(subject: Subject) -> bool:
    """Return whether a SyftBox client should carry the files of this participant, and none runs."""
    if subject.known.transport != "syftbox":
        return False
    daemon = _daemon(subject)
    return daemon.is_expected and not daemon.running


def _require_folder(daemon: Daemon) -> None:
    if not daemon.datasites.is_dir():
        raise BlockedError("the SyftBox data folder has no folder datasites", SYFTBOX_FOLDER)
