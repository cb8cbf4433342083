"""The checks before a start over SyftBox: each problem has a text and a remedy, and only a certain one stops the start."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from running_daemon import TOKEN, RunningDaemon

from syft_flwr.config import Settings, load_settings
from syft_flwr.errors import ConfigError, StorageFullError, TransportError
from syft_flwr.transport._syftbox.daemon import RESERVE
from syft_flwr.transport._syftbox.start_checks import check_syftbox
from syft_flwr.transport.opening import open_transport
from syft_flwr.transport.syftbox import SyftBoxTransport

ME, PEER, OTHER = "ds@research.org", "do1@hospital-a.org", "do2@hospital-b.org"
BLOCK = {"version": 1, "defaults": {"action": "block"}, "rules": []}


def allow(datasite: str, path: str = "**") -> dict[str, str]:
    return {"action": "allow", "datasite": datasite, "path": path}


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the disk enough free space, also on a small machine."""
    set_free(monkeypatch, RESERVE + 1)


def set_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path / "me", ME) as daemon:
        yield daemon


@pytest.fixture
def blocking(tmp_path: Path) -> Iterator[RunningDaemon]:
    """Run a client with the subscriptions of a new installation: all others are blocked."""
    with RunningDaemon(tmp_path / "me", ME, subscriptions=BLOCK) as daemon:
        yield daemon


def settings_of(daemon: RunningDaemon, environ: dict[str, str] | None = None, **arguments: Any) -> Settings:
    return load_settings(environ={**daemon.environment, **(environ or {})}, **{"app_name": "trial", **arguments})


def warnings(logged: list[str]) -> list[str]:
    return [line for line in logged if line.startswith(("WARNING", "ERROR"))]


def test_healthy_client_gives_no_finding(daemon: RunningDaemon, logged: list[str]) -> None:
    check_syftbox(settings_of(daemon), [PEER])
    assert warnings(logged) == []
    assert daemon.calls == ["/v1/status", "/v1/subscriptions/"]


def test_shared_folder_without_client_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    set_free(monkeypatch, 1 << 30)
    settings = load_settings(environ={}, email=ME, data_dir=tmp_path / "shared", home=tmp_path)
    check_syftbox(settings, [PEER])
    assert warnings(logged) == []
    assert not (tmp_path / "shared").exists()


@pytest.mark.parametrize("server", ["", "https://server.syftbox.invalid", "http://[", None])
def test_config_without_a_server_expects_no_client(tmp_path: Path, logged: list[str], server: str | None) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"email": ME, "data_dir": str(tmp_path / "shared"), "server_url": server}))
    check_syftbox(load_settings(environ={"SYFTBOX_CLIENT_CONFIG_PATH": str(path)}), [PEER])
    assert warnings(logged) == []


def test_short_commands_are_not_checked(blocking: RunningDaemon, logged: list[str]) -> None:
    open_transport(settings_of(blocking), peers=[PEER], live=False).close()
    assert blocking.calls == []


# Free space


def test_full_disk_under_a_client_stops_the_start(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, RESERVE)
    with pytest.raises(StorageFullError, match=r"5\.4 GB are free .* below 5\.4 GB, SyftBox syncs nothing") as caught:
        open_transport(settings_of(daemon), peers=[PEER], live=True)
    assert caught.value.hint == "Free disk space there, then start again."


def test_full_disk_without_a_running_client_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    with RunningDaemon(tmp_path / "me", ME) as stopped:
        pass
    set_free(monkeypatch, 1 << 30)
    check_syftbox(settings_of(stopped), [PEER])
    assert sum("SyftBox syncs nothing" in line for line in warnings(logged)) == 1


def test_transport_reserves_the_room_of_a_running_client(daemon: RunningDaemon, tmp_path: Path) -> None:
    opened = open_transport(settings_of(daemon), peers=[PEER], live=True)
    assert isinstance(opened, SyftBoxTransport)
    assert opened.properties.reserve == RESERVE
    assert opened.reopen().arguments["synced"] is True
    opened.close()
    alone = SyftBoxTransport(tmp_path / "shared", ME)
    assert alone.properties.reserve == 64 << 20
    alone.close()


# Emails and folders


def test_prefix_owner_is_named_with_its_victim(daemon: RunningDaemon, logged: list[str]) -> None:
    settings = settings_of(daemon, datasites=[PEER, "do1@hospital-a.organic"], aggregator=ME)
    check_syftbox(settings, settings.datasites)
    (line,) = warnings(logged)
    assert f"do1@hospital-a.organic begins with {PEER}, so SyftBox lets {PEER} read" in line
    assert "One of the two needs another email." in line


@pytest.mark.parametrize("variable", ["DATA_DIR", "OUTPUT_DIR"])
def test_private_folder_inside_datasites_is_a_warning(daemon: RunningDaemon, logged: list[str], variable: str) -> None:
    inside = daemon.datasite / "private"
    check_syftbox(settings_of(daemon, {variable: str(inside)}), [PEER])
    (line,) = warnings(logged)
    assert f"{variable}: {inside} is inside {daemon.data_dir / 'datasites'}" in line
    assert f"set {variable} to it" in line


def test_private_folder_behind_a_link_is_found(daemon: RunningDaemon, logged: list[str], tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(daemon.datasite)
    check_syftbox(settings_of(daemon, {"DATA_DIR": str(tmp_path / "data")}), [PEER])
    assert len(warnings(logged)) == 1


def test_private_folders_elsewhere_are_no_finding(daemon: RunningDaemon, logged: list[str], tmp_path: Path) -> None:
    beside = daemon.data_dir / "private"
    check_syftbox(settings_of(daemon, {"DATA_DIR": str(beside), "OUTPUT_DIR": str(tmp_path)}), [PEER])
    assert warnings(logged) == []


def test_home_inside_datasites_stops_the_start(daemon: RunningDaemon) -> None:
    with pytest.raises(ConfigError, match="which SyftBox synchronises"):
        settings_of(daemon, {"SYFT_FLWR_HOME": str(daemon.datasite / "home")})


# The client of the folder


def test_stopped_client_is_a_warning(tmp_path: Path, logged: list[str]) -> None:
    with RunningDaemon(tmp_path / "me", ME) as stopped:
        pass
    check_syftbox(settings_of(stopped), [PEER])
    (line,) = warnings(logged)
    assert f"no SyftBox client runs for {stopped.data_dir}, so no file is synced\n" in line
    assert "Start the SyftBox client." in line
    assert stopped.calls == []


def test_configured_client_that_never_ran_is_a_warning(tmp_path: Path, logged: list[str]) -> None:
    path = tmp_path / "config.json"
    config = {"email": ME, "data_dir": str(tmp_path / "new"), "server_url": "https://syftbox.example.org"}
    path.write_text(json.dumps(config))
    check_syftbox(load_settings(environ={"SYFTBOX_CLIENT_CONFIG_PATH": str(path)}), [PEER])
    assert [f"no SyftBox client runs for {tmp_path / 'new'}" in line for line in warnings(logged)] == [True]


def test_config_of_another_folder_is_named(daemon: RunningDaemon, tmp_path: Path, logged: list[str]) -> None:
    check_syftbox(settings_of(daemon, data_dir=tmp_path / "elsewhere"), [PEER])
    (line,) = warnings(logged)
    assert f"no SyftBox client runs for {tmp_path / 'elsewhere'}" in line
    assert f"SyftBox config {daemon.config_path} names {daemon.data_dir}" in line


def test_config_of_another_email_is_named(daemon: RunningDaemon, logged: list[str]) -> None:
    check_syftbox(settings_of(daemon, {"SYFTBOX_EMAIL": OTHER}), [PEER])
    config, datasite = warnings(logged)
    assert f"SyftBox config {daemon.config_path} is that of {ME}, but this participant is {OTHER}" in config
    assert "Correct SYFTBOX_EMAIL" in config
    assert f"has no datasite {OTHER}" in datasite


def test_folder_without_own_datasite_is_a_warning(daemon: RunningDaemon, logged: list[str]) -> None:
    shutil.rmtree(daemon.datasite)
    check_syftbox(settings_of(daemon), [PEER])
    (line,) = warnings(logged)
    assert f"the SyftBox client of {daemon.data_dir} has no datasite {ME}" in line
    assert f"Start the SyftBox client as {ME}" in line


def test_client_without_local_api_is_no_finding(daemon: RunningDaemon, logged: list[str]) -> None:
    daemon.write_config(client_url=None, client_token=None)
    check_syftbox(settings_of(daemon), [PEER])
    assert warnings(logged) == []
    assert daemon.calls == []


def test_unusable_data_folder_is_a_transport_error(tmp_path: Path) -> None:
    settings = load_settings(environ={}, email=ME, data_dir=tmp_path / ("x" * 300), home=tmp_path)
    with pytest.raises(TransportError, match="the SyftBox data folder"):
        check_syftbox(settings, [PEER])


# Ignored files


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("*.request", ".request"),
        ("app_data/", "app_data/flwr"),
        (f"{PEER}/", f"{PEER}/public"),
        ("**/flwr/trial/rpc/messages/", "rpc/messages"),
        ("public/syft_flwr.json", "public/syft_flwr.json"),
        ("/*/public/*.json", "public/syft_flwr.json"),
    ],
)
def test_rule_that_ignores_messages_is_a_warning(
    daemon: RunningDaemon, logged: list[str], rule: str, name: str
) -> None:
    ignored = daemon.data_dir / "datasites" / "syftignore"
    ignored.write_text(f"# mine\nnotes/\n\n  {rule}  \n")
    check_syftbox(settings_of(daemon, aggregator=ME), [PEER])
    (line,) = warnings(logged)
    assert f"{ignored}: the line {rule} keeps" in line
    assert name in line


@pytest.mark.parametrize(
    "text",
    [
        "*\n!app_data/flwr/\n!public/\n",
        "*.request\n!flwr/\n",
        "?o1@hospital-a.org\n",
        "notes/\n*.bin\n",
        "public/*.json\n/public/\n",
        "*.request\n!*.request\n",
        "!\n",
        "# *.request\n",
        "a\0b\n*.csv",
        "[z-a]*.request\n",
        # A match of such rules could take days.
        "*a" * 40 + "*.request\n",
        "x/" * 600 + "*.request\n",
        "\xff\n",
        "",
    ],
)
def test_harmless_ignore_rules_are_no_finding(daemon: RunningDaemon, logged: list[str], text: str) -> None:
    (daemon.data_dir / "datasites" / "syftignore").write_bytes(text.encode("latin-1"))
    check_syftbox(settings_of(daemon, aggregator=ME), [PEER])
    assert warnings(logged) == []


def test_unreadable_ignore_rules_are_a_warning(daemon: RunningDaemon, logged: list[str]) -> None:
    (daemon.data_dir / "datasites" / "syftignore").write_bytes(b"#" * (1 << 21))
    check_syftbox(settings_of(daemon), [PEER])
    (line,) = warnings(logged)
    assert "syftignore has 2097152 bytes" in line


@pytest.mark.parametrize("folder", ["logs", "dist", "venv", ".venv", "trial.tmp", "day.log", "__pycache__", ".git"])
def test_data_folder_without_events_is_a_warning(tmp_path: Path, logged: list[str], folder: str) -> None:
    with RunningDaemon(tmp_path / folder / "me", ME) as daemon:
        check_syftbox(settings_of(daemon), [PEER])
    (line,) = warnings(logged)
    assert f"sends nothing from {daemon.data_dir / 'datasites'} at once" in line


def test_data_folder_behind_a_link_is_without_events(tmp_path: Path, logged: list[str]) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "logs")
    with RunningDaemon(tmp_path / "home" / "me", ME) as daemon:
        check_syftbox(settings_of(daemon), [PEER])
    (line,) = warnings(logged)
    assert f"sends nothing from {tmp_path / 'logs'}" in line


def test_ignored_folder_matters_only_with_a_client(tmp_path: Path, logged: list[str]) -> None:
    settings = load_settings(environ={}, email=ME, data_dir=tmp_path / "logs" / "shared", home=tmp_path)
    check_syftbox(settings, [PEER])
    assert warnings(logged) == []


# Subscriptions


def test_blocking_client_stops_the_start(blocking: RunningDaemon) -> None:
    with pytest.raises(ConfigError, match="subscriptions of the SyftBox client") as caught:
        open_transport(settings_of(blocking), peers=[PEER, OTHER], live=True)
    assert f"block files of {PEER}, {OTHER}, so messages are not exchanged" in str(caught.value)
    assert f"Write these lines into the new file {blocking.subscription_file}:" in caught.value.hint
    assert blocking.calls == ["/v1/status", "/v1/subscriptions/"]


def test_lines_for_a_new_file_mend_it(blocking: RunningDaemon) -> None:
    with pytest.raises(ConfigError) as caught:
        check_syftbox(settings_of(blocking), [PEER, OTHER])
    _, *lines = caught.value.hint.split("\n")
    document = yaml.safe_load("\n".join(lines))
    assert document["rules"] == [
        allow(PEER, "public/syft_flwr.json"),
        allow(PEER, "app_data/flwr/trial/**"),
        allow(OTHER, "public/syft_flwr.json"),
        allow(OTHER, "app_data/flwr/trial/**"),
    ]
    blocking.replies["/v1/subscriptions/"] = {"config": document}
    check_syftbox(settings_of(blocking), [PEER, OTHER])


def test_lines_for_an_existing_file_mend_it(blocking: RunningDaemon) -> None:
    text = f"version: 1\ndefaults:\n  action: allow\nrules:\n  - action: deny\n    datasite: '{PEER}'\n    path: '**'\n"
    blocking.subscription_file.write_text(text)
    blocking.replies["/v1/subscriptions/"] = {"config": yaml.safe_load(text)}
    with pytest.raises(ConfigError, match=f"block files of {PEER}, so") as caught:
        check_syftbox(settings_of(blocking), [PEER, OTHER])
    head, *lines = caught.value.hint.split("\n")
    assert head == f"Add these lines to the end of {blocking.subscription_file}, in the list rules:"
    document = yaml.safe_load(text + "\n".join(lines) + "\n")
    blocking.replies["/v1/subscriptions/"] = {"config": document}
    check_syftbox(settings_of(blocking), [PEER, OTHER])


def test_own_datasite_is_never_blocked(blocking: RunningDaemon, logged: list[str]) -> None:
    check_syftbox(settings_of(blocking), [ME])
    assert warnings(logged) == []


def test_rules_for_one_app_are_enough_for_it(blocking: RunningDaemon) -> None:
    rules = [allow(PEER, "public/*"), allow(PEER, "app_data/flwr/trial/**")]
    blocking.replies["/v1/subscriptions/"] = {"config": {**BLOCK, "rules": rules}}
    check_syftbox(settings_of(blocking), [PEER])
    check_syftbox(settings_of(blocking, app_name=None), [PEER])
    with pytest.raises(ConfigError, match=PEER):
        check_syftbox(settings_of(blocking, app_name="other"), [PEER])


def test_data_owner_needs_no_inbox_of_its_aggregator(blocking: RunningDaemon) -> None:
    rules = [allow(PEER, "public/*"), allow(PEER, "app_data/flwr/trial/{objects,status}/**")]
    blocking.replies["/v1/subscriptions/"] = {"config": {**BLOCK, "rules": rules}}
    check_syftbox(settings_of(blocking, aggregator=PEER), [PEER])


def test_unknown_app_opens_the_folder_of_all_apps(blocking: RunningDaemon) -> None:
    with pytest.raises(ConfigError) as caught:
        check_syftbox(settings_of(blocking, app_name=None), [PEER])
    assert "path: 'app_data/flwr/**'}" in caught.value.hint


def test_release_without_subscriptions_ignores_the_file(daemon: RunningDaemon, logged: list[str]) -> None:
    daemon.subscription_file.write_text("defaults: {action: block}\n")
    check_syftbox(settings_of(daemon), [PEER])
    assert warnings(logged) == []


def test_blocking_file_alone_is_a_warning(daemon: RunningDaemon, logged: list[str]) -> None:
    daemon.write_config(client_url=None)
    daemon.subscription_file.write_text("version: 1\n")
    check_syftbox(settings_of(daemon), [PEER])
    (line,) = warnings(logged)
    assert f"block files of {PEER}" in line
    assert f"datasite: '{PEER}'" in line


@pytest.mark.parametrize("text", ["defaults: {action: sometimes}\n", "rules: 7\n", "a: [\n", "- x\n", "\xff"])
def test_broken_subscription_file_is_a_warning(daemon: RunningDaemon, logged: list[str], text: str) -> None:
    daemon.write_config(client_url=None)
    daemon.subscription_file.write_bytes(text.encode("latin-1"))
    check_syftbox(settings_of(daemon), [PEER])
    (line,) = warnings(logged)
    assert f"{daemon.subscription_file} is not valid" in line


@pytest.mark.parametrize("status", [{}, [], {"datasite": None}, {"datasite": {"config": {"email": ME}}}, b"no json"])
def test_client_of_another_folder_is_not_believed(blocking: RunningDaemon, logged: list[str], status: Any) -> None:
    blocking.replies["/v1/status"] = status
    check_syftbox(settings_of(blocking), [PEER])
    assert blocking.calls == ["/v1/status"]
    assert warnings(logged) == []


@pytest.mark.parametrize("content", [[], {}, {"config": 7}, {"config": {"rules": [7]}}, b"no json"])
def test_strange_subscriptions_never_stop_the_start(blocking: RunningDaemon, logged: list[str], content: Any) -> None:
    blocking.replies["/v1/subscriptions/"] = content
    check_syftbox(settings_of(blocking), [PEER])
    assert warnings(logged) == []


def test_token_is_not_shown(blocking: RunningDaemon, logged: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_syftbox(settings_of(blocking), [PEER])
    assert TOKEN not in "".join(logged) + caught.value.diagnose()
    assert TOKEN not in str(settings_of(blocking)) + str(settings_of(blocking).report())


def test_wrong_token_falls_back_to_the_file(blocking: RunningDaemon, logged: list[str]) -> None:
    blocking.write_config(client_token="another")
    check_syftbox(settings_of(blocking), [PEER])
    assert blocking.calls == []
    assert warnings(logged) == []
