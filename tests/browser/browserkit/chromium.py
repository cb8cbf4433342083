"""A headless Chromium with its driver. All of its processes, and all files that it wrote, are gone at its end.

The browser is told to end when its driver ends, and the driver ends with this process. So a killed test leaves no process.
"""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from child_program import ChildProgram
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.proxy import Proxy
from selenium.webdriver.remote.client_config import ClientConfig
from urllib3.exceptions import HTTPError
from waiting import eventually

#: The names of the programs on Debian, Ubuntu and other systems.
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_DRIVER = "chromedriver"
#: Seconds for one command of the driver, and for a script in a page.
_PATIENCE = 60
_ARGUMENTS = (
    "--headless",
    # The browser ends as soon as the other end of its pipes is closed.
    "--remote-debugging-pipe",
    # No name leads to an address, so nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--no-first-run",
    "--password-store=basic",
)


def missing_programs() -> str:
    """Return the names of the programs that this machine has not, as one text; empty if it has all."""
    missing = [] if _browser() else ["chromium"]
    return " and ".join([*missing, *([] if shutil.which(_DRIVER) else [_DRIVER])])


class Chromium:
    """A browser, from the begin to the end of a ``with`` statement. Its profile and its other files are below ``folder``."""

    def __init__(self, folder: Path) -> None:
        # The browser makes a socket in a folder there, and the path of a socket has at most 107 characters.
        assert len(str(folder)) < 50, f"{folder}: the browser needs a shorter path; set pytest's --basetemp"
        self.folder = folder
        home = {"HOME": str(folder), "TMPDIR": str(folder)}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")} | home
        self._program = ChildProgram(
            [str(shutil.which(_DRIVER)), "--port=0"], folder, folder / "driver.log", environment
        )
        self._driver: webdriver.Remote | None = None

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True)
            self._program.start()
            self._driver = self._connected()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def driver(self) -> webdriver.Remote:
        assert self._driver, "the browser does not run"
        return self._driver

    def close(self) -> None:
        """End all processes, and delete the files."""
        if self._driver:
            with suppress(WebDriverException, HTTPError, OSError):
                self._driver.quit()
            self._driver = None
        self._program.kill()
        try:
            eventually(lambda: not processes_of(self.folder), "end of the browser", timeout=30.0)
        finally:
            for process in processes_of(self.folder):
                with suppress(psutil.Error):
                    process.kill()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _connected(self) -> webdriver.Remote:
        found = eventually(
            lambda: re.search(r"successfully on port (\d+)", self._program.tail()), "start of the driver"
        )
        address = f"http://127.0.0.1:{found[1]}"
        config = ClientConfig(address, timeout=2 * _PATIENCE, proxy=Proxy({"proxyType": "DIRECT"}))
        return webdriver.Remote(address, options=self._options(), client_config=config)

    def _options(self) -> webdriver.ChromeOptions:
        options = webdriver.ChromeOptions()
        options.binary_location = str(_browser())
        for argument in (*_ARGUMENTS, f"--user-data-dir={self.folder / 'profile'}"):
            options.add_argument(argument)
        if os.geteuid() == 0:
            # Chromium has no sandbox for root.
            options.add_argument("--no-sandbox")
        limits = {"pageLoad": _PATIENCE * 1000, "script": _PATIENCE * 1000}
        options.set_capability("timeouts", limits)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        return options


def processes_of(folder: Path) -> list[psutil.Process]:
    """Return the processes that have the folder in their command or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(process)
    return found


def _browser() -> str | None:
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)
