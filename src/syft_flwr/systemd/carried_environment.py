"""Chooses the variables of the environment that a unit gets, so that its client does the same as the command in the terminal.

These are the settings of this package, and variables of the machine that change how programs start or reach the network. A
unit holds no secret: `systemctl show` prints it, so a value that could be one is refused.
"""

import os
import pwd
from collections.abc import Mapping, Sequence

from syft_flwr.config.search import FIELDS, SYFTBOX_CONFIG
from syft_flwr.config.user_config import config_file, parse_private_config, parse_user_config, stripped
from syft_flwr.config.values import parse_path
from syft_flwr.errors import ConfigError
from syft_flwr.runs.secrets_mask import masked_text

#: Variables of the machine, and those of them that can name a user and a password.
_MACHINE = (
    "PATH",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "CUDA_VISIBLE_DEVICES",
    "OMP_NUM_THREADS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "HTTPLIB2_CA_CERTS",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CLOUDSDK_CONFIG",
    "FLWR_TELEMETRY_ENABLED",
    "LOGURU_LEVEL",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy")
_PRIVATE_FILE = "Write the values into a .toml file that only this user can read, and give its path in place of them."


def carried_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of ``environ`` that a unit gets.

    Raises:
        ConfigError: a value could be a secret.
    """
    ours = {field.environment: field for field in FIELDS.values() if field.environment}
    found = {}
    for name in (*sorted([*ours, SYFTBOX_CONFIG]), *_MACHINE, *_PROXIES):
        value = environ.get(name, "")
        if not value.strip():
            continue
        field = ours.get(name)
        if field and field.parse is parse_private_config:
            require_no_text([value], f"the environment {name}")
        elif name in _PROXIES or (field and field.parse is not parse_path):
            _require_no_secret(name, value)
        if not value.isprintable():
            # Its text may be private.
            raise ConfigError(
                f"the environment {name} has a line break or another invisible character, which a unit cannot have",
                hint=f"Correct or unset {name}, and install again.",
            )
        found[name] = value
    return found | _own_home(environ)


def _own_home(environ: Mapping[str, str]) -> dict[str, str]:
    """Return HOME if it is not that of the list of users, which a service gets."""
    home = environ.get("HOME", "")
    try:
        listed = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        listed = ""
    return {"HOME": home} if home and home != listed else {}


def _require_no_secret(name: str, value: str) -> None:
    if masked_text(value) != value:
        raise ConfigError(
            f"the environment {name} seems to have a password or a token, and a unit would show it",
            hint=f"Unset {name} and install again. Then put it into a file of mode 600, and name this file with "
            "EnvironmentFile= in `systemctl --user edit`.",
        )


def require_no_text(values: Sequence[str], what: str) -> None:
    """Raise ConfigError if a configuration has a text in it: that can be a secret. The path of a .toml file is allowed."""
    if config_file(values) is not None:
        return
    if any(isinstance(value, str) for value in parse_user_config(values, what).values()):
        raise ConfigError(f"{what} has a text, which can be a secret, and a unit would show it", hint=_PRIVATE_FILE)


def absolute_node_config(values: Sequence[str]) -> list[str]:
    """Return the values of ``--node-config`` for a unit: an absolute path, or pairs without a text."""
    require_no_text(values, "--node-config")
    path = config_file(values)
    return stripped(values) if path is None else [str(path.expanduser().absolute())]
