"""Makes the text of a unit. Each value is escaped as systemd reads it; a value that a unit cannot have is refused.

docs/how-to/service.md has the reason of each line.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from syft_flwr.errors import ConfigError, shown_repr
from syft_flwr.software import SYFT_FLWR

_MARK = "# Written by `syft-flwr client --install-service`"
_DIGEST = "# sha256 of the lines below: "
_UNIT = Template("""\
[Unit]
Description=$description
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
WorkingDirectory=$folder
$environment
ExecStart=$command
Restart=always
RestartSec=10
SuccessExitStatus=143 130
KillMode=mixed
TimeoutStartSec=15min
TimeoutStopSec=30
WatchdogSec=10min
WatchdogSignal=SIGKILL
OOMPolicy=continue
UMask=0077
LimitCORE=0
$hardening
[Install]
WantedBy=default.target
""")
#: All of these work without privileges and without user namespaces, which many machines do not have.
_HARDENING = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=~@clock @cpu-emulation @module @mount @obsolete @raw-io @reboot @swap ptrace
SystemCallErrorNumber=EPERM
"""


def unit_text(
    description: str,
    owner: str,
    command: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    hardened: bool,
) -> str:
    """Return the text of a unit.

    Args:
        description: a line for people.
        owner: the email of the participant.
        command: the absolute path of the program, and its arguments.
        folder: the current folder of the command.
        environment: the variables of the command.
        hardened: whether the command does without the rights that a container or a sandbox needs.

    Raises:
        ConfigError: a value has a character that a unit cannot have.
    """
    program, *arguments = command
    lines = _UNIT.substitute(
        description=_plain(description),
        folder=_folder(str(folder)),
        environment="\n".join(f"Environment={_quoted(f'{name}={value}')}" for name, value in environment.items()),
        # systemd replaces no variable in the name of the program.
        command=" ".join([_quoted(program), *(_quoted(word).replace("$", "$$") for word in arguments)]),
        hardening=_HARDENING if hardened else "",
    )
    return f"{_MARK} of {SYFT_FLWR} for {owner}.\n# Do not edit it: `systemctl --user edit` adds lines.\n{_DIGEST}{_digest(lines)}\n{lines}"


def owner_of(text: str) -> str | None:
    """Return the email of the participant if this package wrote the text and no person edited it; otherwise None."""
    first, _, rest = text.partition("\n")
    _, _, rest = rest.partition("\n")
    digest, _, lines = rest.partition("\n")
    if not first.startswith(_MARK) or digest != f"{_DIGEST}{_digest(lines)}":
        return None
    return first.rpartition(" for ")[2].removesuffix(".")


def _digest(lines: str) -> str:
    return hashlib.sha256(lines.encode()).hexdigest()


def _plain(text: str) -> str:
    """Return a text for a unit, where ``%`` begins a name of systemd."""
    if not text.isprintable():
        raise ConfigError(
            f"{shown_repr(text)} has a line break or another invisible character, which a unit cannot have",
            hint="Rename the folder or the file, and install again.",
        )
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    escaped = _plain(word).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _folder(path: str) -> str:
    # This line of a unit knows no quotes: systemd takes the rest of the line.
    if path != path.strip() or path.endswith("\\"):
        raise ConfigError(
            f"{shown_repr(path)} ends with a space or a backslash, and no service can have it as its current folder",
            hint="Go to another folder and name the project by its path.",
        )
    return _plain(path)
