"""Google logins: their sources, their validity, and the ``login`` command."""

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
from drivekit.accounts import ANN, BEN, Person
from google.oauth2.credentials import Credentials
from typer.testing import CliRunner

from syft_flwr.cli import app as command_line
from syft_flwr.emulators.gdrive import Emulator
from syft_flwr.errors import ConfigError, LoginError
from syft_flwr.transport._gdrive.api import auth, browser_login, requirements
from syft_flwr.transport._gdrive.api.auth import GoogleAccount, open_account, read_account
from syft_flwr.transport._gdrive.api.drive_client import DriveClient

SCOPE = "https://www.googleapis.com/auth/drive"


@pytest.fixture(autouse=True)
def no_default_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def token(emulator: Emulator, tmp_path: Path) -> Path:
    path = tmp_path / "token.json"
    emulator.write_token(ANN, path)
    return path


def me(account: GoogleAccount) -> str:
    drive = DriveClient(account)
    try:
        return drive.me()
    finally:
        drive.close()


# Sources of a login


def test_named_token_file_comes_first(emulator: Emulator, token: Path, tmp_path: Path) -> None:
    other = tmp_path / "stored.json"
    emulator.write_token(BEN, other)
    assert me(open_account(token, emulator.url, stored=other)) == ANN
    assert me(open_account(None, emulator.url, stored=other)) == BEN


def test_missing_named_token_file_is_an_error(emulator: Emulator, token: Path, tmp_path: Path) -> None:
    with pytest.raises(LoginError, match=r"the token file .* does not exist") as error:
        open_account(tmp_path / "none.json", emulator.url, stored=token)
    assert "syft-flwr login" in error.value.hint


def test_missing_login_names_command_and_variable(tmp_path: Path) -> None:
    for api in (None, "http://127.0.0.1:1"):
        with pytest.raises(LoginError, match="no account is logged in") as error:
            open_account(None, api, stored=tmp_path / "none.json")
        assert "syft-flwr login" in error.value.hint
        assert "GDRIVE_TOKEN_PATH" in error.value.hint


def test_default_credentials_never_go_to_emulator(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(token))
    assert open_account(None, None).source == "Application Default Credentials"
    with pytest.raises(LoginError, match="no account is logged in"):
        open_account(None, "http://127.0.0.1:1")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"refresh_token": "1//0secret"}', "1//0secret", "[" * 100_000]
)
def test_broken_token_file_is_not_shown(token: Path, text: str) -> None:
    token.write_text(text)
    with pytest.raises(LoginError) as error:
        read_account(token)
    assert "secret" not in f"{error.value.diagnose()}{error.value.__cause__}"


def test_oversized_token_file_is_not_read(token: Path) -> None:
    token.write_bytes(bytes(65 << 10))
    with pytest.raises(LoginError, match="cannot be read"):
        read_account(token)


@pytest.mark.parametrize(
    ("scopes", "good"),
    [
        (["drive"], True),
        (["drive.file", "drive.readonly"], True),
        (["drive", "other"], True),
        (["drive.file"], False),
        (["drive.readonly"], False),
        (["drive.metadata"], False),
    ],
)
def test_login_needs_sufficient_scopes(emulator: Emulator, token: Path, scopes: list[str], good: bool) -> None:
    emulator.write_token(ANN, token, [SCOPE.removesuffix("drive") + scope for scope in scopes])
    if good:
        assert me(read_account(token, emulator.url)) == ANN
    else:
        with pytest.raises(LoginError, match="does not allow access"):
            read_account(token, emulator.url)


# Validity of a login


def test_threads_renew_expired_token_once(ann: Person) -> None:
    ann.emulator.expire_tokens()
    threads = [threading.Thread(target=ann.drive.free_space) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ann.emulator.meter(ANN).token_requests == 1


def test_refresh_token_alone_is_enough(ann: Person) -> None:
    text = json.loads(ann.token_path.read_text())
    kept = {name: text[name] for name in ("refresh_token", "client_id", "client_secret")}
    ann.token_path.write_text(json.dumps(kept))
    assert me(ann.account()) == ANN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"refresh_token": "1//0other"}, "expired or was revoked"),
        ({"client_secret": "other"}, "does not know the OAuth client"),
        ({"scopes": [SCOPE, f"{SCOPE}.readonly"]}, "does not allow access"),
    ],
)
def test_failed_token_renewal_names_the_reason(ann: Person, change: dict[str, object], message: str) -> None:
    text = json.loads(ann.token_path.read_text()) | {"token": None, "expiry": None} | change
    ann.token_path.write_text(json.dumps(text))
    with pytest.raises(LoginError, match=message) as error:
        me(ann.account())
    shown = f"{error.value.diagnose()} {error.value.__cause__}"
    assert str(ann.token_path) in shown
    assert text["refresh_token"] not in shown
    assert "syft-flwr login" in error.value.hint
    assert not error.value.transient


def test_no_secret_in_logs_or_errors(ann: Person, logged: list[str]) -> None:
    ann.fault("error", "upload.*", times=None, status=503)
    ann.fault("lose_reply", "files.generateIds", times=4)
    with pytest.raises(Exception, match="upload of") as error:
        ann.put(bytes(6 << 20))
    secrets = [json.loads(ann.token_path.read_text())[name] for name in ("token", "refresh_token", "client_secret")]
    text = "\n".join([*logged, str(error.value), repr(error.value.__cause__), repr(error.value.__context__)])
    assert logged
    for secret in [*secrets, "upload_id", "Bearer"]:
        assert secret not in text


def test_any_google_credentials_are_accepted(emulator: Emulator, token: Path) -> None:
    access = json.loads(token.read_text())["token"]
    account = GoogleAccount(Credentials(access), emulator.url)
    assert me(account) == ANN
    emulator.expire_tokens()
    with pytest.raises(LoginError, match="no access token"):
        me(account)


# The login command


class Browser:
    """A fake browser: it opens the login address in a thread and keeps the pages."""

    def __init__(self, **changes: str) -> None:
        self._changes = changes
        self._thread: threading.Thread | None = None
        self.pages: list[str] = []

    def open(self, url: str, **_: object) -> bool:
        for name, value in self._changes.items():
            if f"&{name}=" in url:
                before, _, rest = url.partition(f"&{name}=")
                url = before + "&" + rest.partition("&")[2]
            url += f"&{name}={value}"
        self._thread = threading.Thread(target=self._go, args=(url,))
        self._thread.start()
        return True

    def _go(self, url: str) -> None:
        try:
            with urllib.request.urlopen(url, timeout=20) as page:
                self.pages.append(page.read().decode())
        except HTTPError as error:
            self.pages.append(error.read().decode())

    def leave(self) -> None:
        if self._thread:
            self._thread.join(20)


@pytest.fixture
def secrets(token: Path, tmp_path: Path) -> Path:
    """Return the file of an OAuth client with hostile addresses, which the login must not use."""
    client = {name: json.loads(token.read_text())[name] for name in ("client_id", "client_secret")}
    path = tmp_path / "client.json"
    path.write_text(
        json.dumps({"installed": client | {"token_uri": "https://evil.org/", "auth_uri": "https://evil.org/"}})
    )
    return path


Invoke = Callable[..., tuple[int, str]]


@pytest.fixture
def invoke(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Invoke]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYFTBOX_EMAIL", "Ann@X.org")
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SYFT_FLWR_GDRIVE_API", emulator.url)
    monkeypatch.setenv("COLUMNS", "1000")
    browsers: list[Browser] = []

    def call(*arguments: str | Path, browser: Browser | None = None) -> tuple[int, str]:
        person = browser or Browser()
        browsers.append(person)
        monkeypatch.setattr("webbrowser.open", person.open)
        result = CliRunner().invoke(command_line.app, ["login", *map(str, arguments)])
        person.leave()
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return call


def test_login_is_stored_for_this_user_only(invoke: Invoke, secrets: Path, tmp_path: Path) -> None:
    browser = Browser()
    code, output = invoke("--client-secrets", secrets, browser=browser)
    assert code == 0, output
    assert f"Logged in to Google Drive as {ANN}" in output
    assert "can be closed" in browser.pages[0]
    path = tmp_path / "state" / ANN / auth.TOKEN_FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    code, output = invoke("--check")
    assert code == 0, output
    assert ANN in output


def test_login_is_stored_at_configured_path(
    invoke: Invoke, secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDRIVE_TOKEN_PATH", str(tmp_path / "mine.json"))
    monkeypatch.setenv("SYFT_FLWR_GDRIVE_CLIENT_SECRETS", str(secrets))
    code, output = invoke("--format", "json")
    assert code == 0, output
    assert f'"email": "{ANN}"' in output
    assert (tmp_path / "mine.json").stat().st_mode & 0o777 == 0o600
    # A later login replaces it.
    (tmp_path / "mine.json").write_text(json.dumps(json.loads((tmp_path / "mine.json").read_text()) | {"token": "old"}))
    assert invoke()[0] == 0
    assert json.loads((tmp_path / "mine.json").read_text())["token"] != "old"


@pytest.mark.parametrize(
    "foreign", ["client secrets", "notes", "list", "login of gcloud", "folder", "large", "loop", "lost link"]
)
def test_login_replaces_no_file_of_the_user(
    invoke: Invoke, secrets: Path, token: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: str
) -> None:
    path = tmp_path / "mine.json"
    match foreign:
        case "client secrets":
            path = secrets
        case "login of gcloud":
            path.write_text(json.dumps(json.loads(token.read_text()) | {"type": "authorized_user"}))
        case "folder":
            path.mkdir()
        case "loop" | "lost link":
            path.symlink_to(path if foreign == "loop" else tmp_path / "nothing")
        case _:
            path.write_text({"notes": "mine", "list": "[]", "large": " " * 70_000 + token.read_text()}[foreign])
    before = path.read_bytes() if path.is_file() else b""
    monkeypatch.setenv("GDRIVE_TOKEN_PATH", str(path))
    browser = Browser()
    code, output = invoke("--client-secrets", secrets, browser=browser)
    assert code != 0
    assert "is no login of this command" in output
    assert "Set GDRIVE_TOKEN_PATH to another path" in output
    assert not browser.pages
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert path.is_symlink() == (foreign in ("loop", "lost link"))


def test_login_behind_links_in_a_circle_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.symlink_to(path)
    with pytest.raises(LoginError, match="does not exist"):
        auth.read_account(path)
    code, output = invoke("--client-secrets", path)
    assert code == 2
    assert "client secrets: mine.json is not there" in output


def test_login_of_another_email_is_not_stored(invoke: Invoke, secrets: Path, tmp_path: Path) -> None:
    code, output = invoke("--client-secrets", secrets, browser=Browser(login_hint=BEN))
    assert code == 1
    assert f"the login belongs to {BEN}, but this participant is {ANN}" in output
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emulator_answer": "no"}, "not completed (access_denied)"),
        ({"emulator_answer": "nothing"}, "allow access to Google Drive"),
        ({"state": "forged"}, "not completed (mismatching_state)"),
        ({"code_challenge": "other"}, "not completed (invalid_grant)"),
    ],
)
def test_refused_login_is_not_stored(
    invoke: Invoke, secrets: Path, tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    code, output = invoke("--client-secrets", secrets, browser=Browser(**changes))
    assert code == 1
    assert message in output
    assert not (tmp_path / "state").exists()


def test_address_is_shown_without_a_browser(invoke: Invoke, secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_login, "PATIENCE", 0.1)
    code, output = invoke("--client-secrets", secrets, "--no-browser")
    assert code == 1
    assert "/o/oauth2/auth?" in output
    assert "login_hint=ann%40x.org" in output
    assert "was not completed" in output


def test_client_secrets_are_required(invoke: Invoke) -> None:
    code, output = invoke()
    assert code == 2
    assert "--client-secrets" in output
    assert "SYFT_FLWR_GDRIVE_CLIENT_SECRETS" in output


@pytest.mark.parametrize(
    "text", ["{", '{"web": {}}', '{"installed": {"client_id": "GOCSPX-secret"}}', '{"installed": 5}']
)
def test_invalid_client_secrets_are_refused(invoke: Invoke, secrets: Path, text: str) -> None:
    secrets.write_text(text)
    code, output = invoke("--client-secrets", secrets)
    assert code == 2
    assert "not the file of a desktop app" in output
    assert "GOCSPX" not in output


def test_login_check_reports_the_problem(invoke: Invoke, emulator: Emulator, tmp_path: Path) -> None:
    code, output = invoke("--check")
    assert code == 1
    assert "no account is logged in" in output
    path = tmp_path / "state" / ANN / auth.TOKEN_FILE
    path.parent.mkdir(parents=True)
    emulator.write_token(BEN, path)
    assert "the login belongs to" in invoke("--check")[1]
    emulator.write_token(ANN, path)
    assert invoke("--check")[0] == 0
    emulator.revoke_token(ANN)
    assert "expired or was revoked" in invoke("--check")[1]


def test_missing_package_error_says_how_to_install(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "_NEEDED", ("google.auth", "nowhere.to.be.found"))
    code, output = invoke("--check")
    assert code == 2
    assert "pip install" in output
    with pytest.raises(ConfigError, match="nowhere"):
        requirements.require_google()
