"""Reads the text templates that this package writes into a project.

A checkout has them in the folder ``templates/``; a wheel has the same folder inside the package.
"""

from importlib.resources import files
from pathlib import Path

from syft_flwr.errors import ConfigError


def read_template(name: str) -> str:
    """Return the text of the template ``name``, such as ``main.py.tpl``.

    Raises:
        ConfigError: the template is missing from this installation.
    """
    checkout = Path(__file__).resolve().parents[2] / "templates"
    for folder in (files("syft_flwr") / "templates", checkout):
        try:
            return (folder / name).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
    raise ConfigError(f"the template {name} is missing from this installation", hint="Install syft-flwr again.")
