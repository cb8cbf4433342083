"""``syft-flwr client --install-service`` and ``--uninstall-service``: write or delete the unit of a client.

They call no systemctl: the commands for it are printed. So they also work over ``sudo -u`` and in a build of an image, where
no service manager of the user runs.
"""

import os
import pwd
import shlex
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syft_flwr.cli.output import Format, show_json, show_note, show_text
from syft_flwr.errors import AppLoadError, ConfigError

if TYPE_CHECKING:
    from syft_flwr.config import Settings


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """The options of the command ``client`` for a service."""

    projects: Sequence[Path]
    name: str | None
    force: bool
    output: Format


def install_service(options: ServiceOptions, node_config: Sequence[str] | None, log_file: Path | None) -> None:
    """Write the unit of a client that could be started here now, and print the next commands.

    Raises:
        ConfigError: the client could not be started, a value cannot be in a unit, or another file has its place.
        AppLoadError: the app cannot be loaded.
        StoreError: the unit cannot be written.
    """
    from syft_flwr.systemd.carried_environment import absolute_node_config, carried_environment
    from syft_flwr.systemd.unit_file import UnitFile, service_name, units_folder
    from syft_flwr.systemd.unit_text import unit_text

    _require_systemd()
    checked = _startable(options.projects, node_config)
    apps = [settings.require("app_name") for settings in checked]
    owner = str(checked[0].require("email"))
    environment = carried_environment(os.environ)
    command = [own_program(), "client", "--keep", *(str(path.absolute()) for path in options.projects)]
    for text in absolute_node_config(node_config or []):
        command += ["--node-config", text]
    if log_file:
        command += ["--log-file", str(log_file.expanduser().absolute())]
    name = service_name(apps, options.name)
    path = units_folder() / name
    hardened = not any(settings.worker_command for settings in checked)
    text = unit_text(
        f"syft-flwr client of {', '.join(apps)} for {owner}",
        owner,
        command,
        Path.cwd(),
        environment,
        hardened=hardened,
    )
    unit = UnitFile(path)
    is_new = not os.path.lexists(path)
    changed = unit.write(text, owner, force=options.force)
    steps = {
        "systemctl --user daemon-reload": "read the unit",
        **_starting(name, is_new=is_new, is_enabled=unit.is_enabled),
        f"loginctl enable-linger {shlex.quote(_user())}": "start it at boot, and keep it after a logout (may need sudo)",
        f"systemctl --user status {name}": "see its state",
        f"journalctl --user -u {name} -f": "follow its log",
    }
    fields = {"unit": str(path), "service": name, "changed": changed, "environment": sorted(environment)}
    _show(fields, f"{path} {'is written' if changed else 'is up to date'}.", steps, options.output)
    if not hardened:
        show_note("SYFT_FLWR_WORKER_COMMAND is set: the unit lets it use containers, so it restricts no system calls.")


def _starting(name: str, *, is_new: bool, is_enabled: bool) -> dict[str, str]:
    """Return the commands that start the service now and at each login, each with its purpose."""
    if is_new:
        return {f"systemctl --user enable --now {name}": "start the service now, and at each login"}
    enable = {} if is_enabled else {f"systemctl --user enable {name}": "start the service at each login"}
    return {**enable, f"systemctl --user restart {name}": "start it with the new unit"}


def uninstall_service(options: ServiceOptions) -> None:
    """Delete the unit of a client, and print the next commands.

    Raises:
        ConfigError: there is no such unit, or this package did not write it as it is.
        StoreError: it cannot be deleted.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.systemd.unit_file import UnitFile, service_name, units_folder

    _require_systemd()
    known = [] if options.name else [load_settings(path) for path in options.projects]
    name = service_name([settings.require("app_name") for settings in known], options.name)
    path = units_folder() / name
    UnitFile(path).delete(known[0].email if known else None, force=options.force)
    steps = {
        f"systemctl --user stop {name}": "end the client",
        "systemctl --user daemon-reload": "forget the unit",
    }
    _show(
        {"unit": str(path), "service": name},
        f"{path} is deleted. Home and keys are still there.",
        steps,
        options.output,
    )


def _require_systemd() -> None:
    if sys.platform != "linux" or shutil.which("systemctl") is None:
        raise ConfigError(
            f"this machine ({sys.platform}) has no systemd, for which --install-service writes a unit",
            hint="Let its own service manager, such as launchd, run `syft-flwr client --keep PROJECT`, and restart it after "
            "each end. Or use the container: compose.yaml.",
        )


def _startable(projects: Sequence[Path], node_config: Sequence[str] | None) -> "list[Settings]":
    """Return the settings of the projects, after the checks that a start makes."""
    from syft_flwr.config.user_config import parse_user_config
    from syft_flwr.doctor.app_check import check_app
    from syft_flwr.doctor.subject import Subject
    from syft_flwr.fl_orchestrator.flower_client import checked_projects

    values = None if node_config is None else parse_user_config(node_config, "--node-config")
    checked = checked_projects(projects, node_config=values, keep=True)
    for project, settings in zip(projects, checked, strict=True):
        settings.require("home")
        for finding in check_app(Subject(settings, project)):
            if finding.state == "problem":
                raise AppLoadError(f"no service can be installed: {finding.text}", hint=finding.fix)
    return checked


def own_program() -> str:
    """Return the absolute path of this command in its environment, also if a link in PATH started it."""
    # The second one is the folder of `pip install --user`.
    schemes = sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")
    programs = [Path(sysconfig.get_path("scripts", scheme), "syft-flwr") for scheme in schemes]
    program = next(filter(Path.exists, programs), programs[0])
    if not program.exists():
        raise ConfigError(
            f"{program} does not exist, so a unit could not start it",
            hint="Install syft-flwr into the Python environment of this command again.",
        )
    return str(program)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _show(fields: dict[str, Any], done: str, steps: dict[str, str], output: Format) -> None:
    if output is Format.JSON:
        show_json({**fields, "next": list(steps)})
        return
    width = max(map(len, steps))
    lines = [f"  {step:<{width}}  # {purpose}" for step, purpose in steps.items()]
    if carried := fields.get("environment"):
        done += f" Its environment: {', '.join(carried)}."
    show_text("\n".join([done, "Next:", *lines]))
