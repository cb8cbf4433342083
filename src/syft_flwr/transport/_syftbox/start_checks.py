"""Checks the SyftBox side of a participant before it starts, and says what to do about each problem.

An error stops the start: nothing would work. A problem that only may do harm is logged as a warning, once. The checks need
no server. Where participants of one machine share a folder without SyftBox, the checks of the SyftBox client find nothing.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path, PurePosixPath
from typing import Literal

from syft_flwr.config import Settings
from syft_flwr.emails import fold
from syft_flwr.errors import ConfigError, StorageFullError, SyftFlwrError, TransportError
from syft_flwr.log import logger
from syft_flwr.names import AppNames, card
from syft_flwr.transport._disk import translate
from syft_flwr.transport._syftbox.daemon import RESERVE, STATE, Daemon, real
from syft_flwr.transport._syftbox.daemon_api import DaemonApi
from syft_flwr.transport._syftbox.ignore_rules import FILE as IGNORE_FILE
from syft_flwr.transport._syftbox.ignore_rules import IgnoreRules
from syft_flwr.transport._syftbox.permission_check import missing_permissions, needs_of
from syft_flwr.transport._syftbox.subscription_file import (
    FILE,
    NEW_FILE,
    SubscriptionFile,
    SubscriptionFileError,
    rule_lines,
)

#: Settings that name folders with private files, and their variables.
_PRIVATE = {"user_data_dir": "DATA_DIR", "output_dir": "OUTPUT_DIR"}
#: For the names of files that must be synced: any id, and an app where the settings name none.
_ANY_ID, _ANY_APP = "0" * 32, "app"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A problem with its text and hint, and whether it stops the start."""

    problem: SyftFlwrError
    stops: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """The facts that the checks look at."""

    settings: Settings
    #: The emails of the participants with which this one exchanges files.
    peers: Collection[str]
    daemon: Daemon

    @property
    def participants(self) -> list[str]:
        """Return the emails of all known participants, sorted."""
        named = {self.daemon.email, *self.peers, *self.settings.datasites, self.settings.aggregator}
        return sorted(filter(None, named))


def check_syftbox(settings: Settings, peers: Collection[str]) -> None:
    """Raise the first error, after all warnings were logged.

    Raises:
        ConfigError, StorageFullError: nothing would be synced, or not with a peer.
        TransportError: the data folder cannot be read.
    """
    found = find_obstacles(settings, peers)
    errors = [obstacle.problem for obstacle in found if obstacle.stops]
    for obstacle in found:
        if obstacle.problem not in errors[:1]:
            logger.warning("{}", obstacle.problem.diagnose())
    if errors:
        raise errors[0]


def find_obstacles(settings: Settings, peers: Collection[str], *checks: str) -> list[Obstacle]:
    """Make the named checks of :data:`CHECKS`, or all, and return the problems that they find.

    Raises:
        TransportError: the data folder cannot be read.
    """
    try:
        scene = Scene(settings, peers, Daemon.look(settings))
        return [obstacle for name in checks or CHECKS for obstacle in CHECKS[name](scene)]
    except OSError as error:
        raise translate(error, f"the SyftBox data folder {settings.data_dir}") from error


def _no_folders(scene: Scene) -> Iterator[Obstacle]:
    """Find links and files in the place of a folder that messages need: no message follows a link out of the tree."""
    root = real(scene.daemon.datasites)
    for email in (scene.daemon.email, *scene.peers):
        needed = {parent for name in _needed(scene.settings, email) for parent in PurePosixPath(name).parents}
        # From the datasite down, so that the first one found is the cause.
        for name in sorted(needed - {PurePosixPath()}, key=lambda name: len(name.parts)):
            folder = root / name
            if folder.is_symlink():
                yield Obstacle(
                    ConfigError(
                        f"{folder} is a symbolic link to {os.path.realpath(folder)}; syft-flwr and SyftBox follow no link "
                        "in a datasite",
                        hint="Put a folder in its place. To keep the files on another disk, move all of "
                        f"{scene.daemon.data_dir} there.",
                    ),
                    stops=True,
                )
            elif os.path.lexists(folder) and not folder.is_dir():
                yield Obstacle(
                    ConfigError(f"{folder} is a file in the place of a folder", hint="Move it away, then start again."),
                    stops=True,
                )
            else:
                continue
            return


def _full_disk(scene: Scene) -> Iterator[Obstacle]:
    daemon = scene.daemon
    place = next((folder for folder in (daemon.datasites, *daemon.datasites.parents) if folder.is_dir()), None)
    free = shutil.disk_usage(place).free if place else RESERVE + 1
    if free <= RESERVE and daemon.is_expected:
        problem = StorageFullError(
            f"{free / 1e9:.1f} GB are free on the disk of {daemon.datasites}; below {RESERVE / 1e9:.1f} GB, SyftBox syncs "
            "nothing",
            hint="Free disk space there, then start again.",
        )
        yield Obstacle(problem, stops=daemon.running)


def _prefix_owners(scene: Scene) -> Iterator[Obstacle]:
    for short, long in permutations(scene.participants, 2):
        if long.startswith(short):
            yield Obstacle(
                ConfigError(
                    f"{long} begins with {short}, so SyftBox lets {short} read, change and delete all files of {long}",
                    hint=f"One of the two needs another email. Until then, keep nothing private in the datasite of {long}.",
                )
            )


def _private_folders(scene: Scene) -> Iterator[Obstacle]:
    synced = real(scene.daemon.datasites)
    for setting, variable in _PRIVATE.items():
        folder = scene.settings.get(setting)
        if folder and real(folder).is_relative_to(synced):
            yield Obstacle(
                ConfigError(
                    f"{variable}: {folder} is inside {synced}, where SyftBox cannot keep files private",
                    hint=f"Move the folder to another place, and set {variable} to it.",
                )
            )


def _other_config(scene: Scene) -> Iterator[Obstacle]:
    daemon = scene.daemon
    configured = daemon.configured_email
    if daemon.is_expected and configured and configured != daemon.email:
        yield Obstacle(
            ConfigError(
                f"SyftBox config {daemon.config_path} is that of {configured}, but this participant is {daemon.email}",
                hint=f"Correct SYFTBOX_EMAIL, or set SYFTBOX_CLIENT_CONFIG_PATH to the config of {daemon.email}.",
            )
        )


def _no_daemon(scene: Scene) -> Iterator[Obstacle]:
    if absence := scene.daemon.absence():
        yield Obstacle(absence)


def _other_datasite(scene: Scene) -> Iterator[Obstacle]:
    daemon = scene.daemon
    if daemon.running and not daemon.has_own_datasite:
        yield Obstacle(
            ConfigError(
                f"the SyftBox client of {daemon.data_dir} has no datasite {daemon.email}: it is that of another email",
                hint=f"Start the SyftBox client as {daemon.email}, or correct SYFTBOX_EMAIL.",
            )
        )


def _ignored_files(scene: Scene) -> Iterator[Obstacle]:
    daemon = scene.daemon
    if not daemon.is_expected:
        return
    try:
        rules = IgnoreRules.read(daemon.datasites)
    except TransportError as error:
        yield Obstacle(error)
        return
    needed = (name for email in (daemon.email, *scene.peers) for name in _needed(scene.settings, email))
    ignored = next(((name, rule) for name in needed if (rule := rules.matching(name))), None)
    if ignored:
        name, rule = ignored
        yield Obstacle(
            ConfigError(
                f"{daemon.datasites / IGNORE_FILE}: the line {rule} keeps {name} from being synced, so messages are not "
                "exchanged",
                hint="Delete the line, or add exceptions after it, then restart the SyftBox client.",
            )
        )
    elif rule := rules.matching(f"{real(daemon.datasites)}/{card(daemon.email)}".lstrip("/")):
        yield Obstacle(
            ConfigError(
                f"the SyftBox client sends nothing from {real(daemon.datasites)} at once: it ignores changes in folders like "
                f"{rule}. Each message waits for a scan, so a round takes 10 to 20 s",
                hint="Move the data folder of SyftBox to a path without such a folder.",
            )
        )


def _blocked_peers(scene: Scene) -> Iterator[Obstacle]:
    path = scene.daemon.data_dir / STATE / FILE
    try:
        confirmed = _subscriptions_of_daemon(scene.daemon)
        found = SubscriptionFile.read(path) if confirmed is None else confirmed
    except SubscriptionFileError:
        yield Obstacle(
            ConfigError(
                f"{path} is not valid: a SyftBox client with subscriptions then blocks all other participants",
                hint="Correct the file. It is YAML with the keys version, defaults and rules.",
            )
        )
        return
    others = [peer for peer in scene.peers if found and peer != scene.daemon.email]
    blocked = [peer for peer in others if found and not all(map(found.allow, _needed(scene.settings, peer)))]
    if blocked:
        names = ", ".join(blocked)
        yield Obstacle(
            ConfigError(
                f"the subscriptions of the SyftBox client ({path}) block files of {names}, so messages are not exchanged",
                hint=_remedy(scene.settings, blocked, path),
            ),
            stops=confirmed is not None,
        )


def _missing_permissions(scene: Scene) -> Iterator[Obstacle]:
    settings, me = scene.settings, scene.daemon.email
    if scene.daemon.is_expected:
        app = AppNames(settings.app_name) if settings.app_name else None
        answers = me != settings.aggregator or me in settings.datasites
        needs = needs_of(me, set(scene.peers) - {me}, app, answers=answers)
        yield from map(Obstacle, missing_permissions(real(scene.daemon.datasites), needs))


def _subscriptions_of_daemon(daemon: Daemon) -> SubscriptionFile | Literal[False] | None:
    """Return the subscriptions of a running daemon; False if its release has none, None if it does not tell."""
    api = DaemonApi.of(daemon.config) if daemon.running else None
    status = api.get("/v1/status") if api else None
    if api is None or status is None or status.status != 200 or not is_of(daemon, status.content):
        return None
    # ``/v1/subscriptions/effective`` would ask the server, and list every file of every datasite.
    listed = api.get("/v1/subscriptions/")
    if listed and listed.status == 404:
        return False
    config = listed.content.get("config") if listed and isinstance(listed.content, dict) else None
    with contextlib.suppress(SubscriptionFileError):
        return SubscriptionFile.parse(config) if config else None
    return None


def is_of(daemon: Daemon, status: object) -> bool:
    """Return whether the status is that of a daemon of this participant and folder."""
    try:
        config = status["datasite"]["config"]  # type: ignore[index]
        folder, email = real(Path(config["data_dir"])), fold(str(config["email"]))
    except (KeyError, TypeError, ValueError):
        return False
    return email == daemon.email and folder == real(daemon.data_dir)


def _needed(settings: Settings, peer: str) -> list[str]:
    """Return names in the datasite of a peer that must be synced, one of each kind."""
    if not settings.app_name:
        return [card(peer)]
    app, me = AppNames(settings.app_name), settings.require("email")
    needed = [card(peer), app.object(peer, _ANY_ID), app.heartbeat(peer)]
    if peer != settings.aggregator:
        needed += [app.request(peer, me, _ANY_ID), app.response(peer, me, _ANY_ID)]
    return needed


def _remedy(settings: Settings, blocked: Collection[str], path: Path) -> str:
    """Return the lines of the subscription file that allow the files of this app, or of all apps if it is unknown."""
    rules = []
    for peer in blocked:
        folder = PurePosixPath(AppNames(settings.app_name or _ANY_APP).inbox(peer)).parent
        shared = folder if settings.app_name else folder.parent
        rules += [(peer, str(PurePosixPath(name).relative_to(peer))) for name in (card(peer), f"{shared}/**")]
    if path.exists():
        head, lines = f"Add these lines to the end of {path}, in the list rules:", rule_lines(rules)
    else:
        head, lines = f"Write these lines into the new file {path}:", [*NEW_FILE, *rule_lines(rules)]
    return "\n  ".join([head, *lines])


#: In this order, the first error is raised.
CHECKS: dict[str, Callable[[Scene], Iterator[Obstacle]]] = {
    "folders": _no_folders,
    "subscriptions": _blocked_peers,
    "free-space": _full_disk,
    "config": _other_config,
    "client": _no_daemon,
    "datasite": _other_datasite,
    "ignored-files": _ignored_files,
    "permissions": _missing_permissions,
    "emails": _prefix_owners,
    "private-folders": _private_folders,
}
