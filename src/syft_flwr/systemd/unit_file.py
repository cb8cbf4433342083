"""The unit file of this user: its place, and who wrote it. A file that a person edited or another program wrote stays."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from syft_flwr.errors import ConfigError, StorageError, StoreError
from syft_flwr.files import read_bounded, write_private
from syft_flwr.systemd.unit_text import owner_of

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_MAX_SIZE = 1 << 20
_WANTS = "default.target.wants"


def units_folder() -> Path:
    """Return the folder of the units of this user, which may be below a link, as it is with shared configurations.

    Raises:
        ConfigError: the user has no home folder.
    """
    config = os.environ.get("XDG_CONFIG_HOME", "")
    # As systemd, which ignores a relative path.
    try:
        folder = Path(config) if config.startswith("/") else Path.home() / ".config"
    except RuntimeError:
        raise ConfigError(
            f"this user (number {os.getuid()}) has no home folder, in which systemd looks for units",
            hint="Set HOME, or set XDG_CONFIG_HOME to an absolute path.",
        ) from None
    return Path(os.path.realpath(folder / "systemd" / "user"))


def service_name(apps: list[str], chosen: str | None) -> str:
    """Return the name of the unit: ``syft-flwr-client-<name>.service``.

    Raises:
        ConfigError: the name is not allowed.
    """
    name = chosen if chosen is not None else ".".join(sorted(apps))
    if not _NAME.fullmatch(name):
        raise ConfigError.not_allowed(
            "--service-name", name, "1 to 128 letters, digits, '_', '-' and '.', the first a letter or digit"
        )
    return f"syft-flwr-client-{name}.service"


@dataclass(frozen=True, slots=True)
class UnitFile:
    """One unit file; it need not exist."""

    path: Path

    @property
    def is_enabled(self) -> bool:
        """Return whether a person has enabled the unit, so that it starts at each login."""
        return self._link.is_symlink()

    @property
    def _link(self) -> Path:
        return self.path.parent / _WANTS / self.path.name

    def write(self, text: str, owner: str, *, force: bool) -> bool:
        """Write the unit; return False if the file has this text already.

        Raises:
            ConfigError: the file is not that of ``owner`` as this package wrote it, and ``force`` is False.
            StoreError: the file cannot be written.
        """
        present = self._present()
        if present == text:
            return False
        if not force:
            self._require_own(present, owner)
        try:
            write_private(self.path, text.encode())
        except StorageError as error:
            raise StoreError(
                f"{self.path} cannot be written: {error}", hint=error.hint or "Correct the rights of this folder."
            ) from error
        return True

    def delete(self, owner: str | None, *, force: bool) -> None:
        """Delete the unit and the link that starts it with the session.

        Raises:
            ConfigError: there is no such file, or it is not that of ``owner`` as this package wrote it, and ``force`` is False.
            StoreError: the file cannot be deleted.
        """
        present = self._present()
        if present is None and not os.path.lexists(self.path):
            raise ConfigError(
                f"{self.path} does not exist, so there is no such service",
                hint="Name the project or --service-name of the service: `systemctl --user list-unit-files 'syft-flwr*'`.",
            )
        if not force:
            self._require_own(present, owner)
        try:
            if self._link.is_symlink():
                self._link.unlink()
            self.path.unlink()
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be deleted: {error.strerror}", hint="Correct the rights of this folder."
            ) from error

    def _present(self) -> str | None:
        """Return the text of the file; None if there is none that can be read."""
        try:
            return read_bounded(self.path, _MAX_SIZE).decode(errors="replace")
        except StorageError:
            return None

    def _require_own(self, present: str | None, owner: str | None) -> None:
        try:
            mode = self.path.lstat().st_mode
        except OSError:
            return
        if stat.S_ISLNK(mode):
            raise ConfigError(
                f"{self.path} is a link, so it is left alone: a service that is masked has one to /dev/null",
                hint="Unmask the service with `systemctl --user unmask`, or use --force, which replaces the link.",
            )
        written_for = None if present is None else owner_of(present)
        if written_for is None:
            raise ConfigError(
                f"{self.path} was edited or written by another program, so it is left alone",
                hint="Move your lines to `systemctl --user edit`, then use --force. Or choose another --service-name.",
            )
        if owner and written_for != owner:
            raise ConfigError(
                f"{self.path} is the service of {written_for}, another participant of this machine",
                hint="Choose another --service-name.",
            )
