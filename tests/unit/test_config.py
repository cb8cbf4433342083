"""Settings: their sources, the order of precedence, and the values that are refused."""

import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from syft_flwr.app_names import normalise_app_name
from syft_flwr.config import TRANSPORTS, Setting, Settings, load_settings
from syft_flwr.errors import ConfigError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("SYFT", "GDRIVE")) or name in {"DATA_DIR", "OUTPUT_DIR"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))


def write_project(folder: Path, table: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(f"[tool.syft_flwr]\n{table}\n")
    return folder


def write_syftbox(home: Path, content: Any) -> Path:
    path = home / ".syftbox" / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def setting(settings: Settings, name: str) -> Setting:
    return next(entry for entry in settings if entry.name == name)


# Order of precedence


def test_defaults_apply_when_nothing_is_set(tmp_path: Path) -> None:
    settings = load_settings()

    assert settings.transport == "syftbox"
    assert settings.encryption is True
    assert settings.msg_timeout == 120.0
    assert settings.poll_interval == 3.0
    assert (settings.min_replies, settings.grace, settings.nodes) == (1.0, 60.0, "all")
    assert settings.journal_limit == 10_000_000_000
    assert settings.idle_after == 900.0
    assert settings.share_tracebacks is False
    assert settings.datasites == ()
    assert settings.email is settings.data_dir is settings.home is settings.aggregator is settings.app_name is None
    assert {entry.source for entry in settings} == {"default"}


def test_settings_follow_order_of_precedence(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", "msg_timeout = 30")
    environ = {"HOME": str(tmp_path), "SYFT_FLWR_MSG_TIMEOUT": "20"}

    found = [
        setting(load_settings(project, environ=environ, msg_timeout=10), "msg_timeout"),
        setting(load_settings(project, environ=environ), "msg_timeout"),
        setting(load_settings(project), "msg_timeout"),
        setting(load_settings(), "msg_timeout"),
    ]

    assert found == [
        Setting("msg_timeout", 10.0, "argument"),
        Setting("msg_timeout", 20.0, "environment SYFT_FLWR_MSG_TIMEOUT"),
        Setting("msg_timeout", 30.0, f"{project}/pyproject.toml [tool.syft_flwr]"),
        Setting("msg_timeout", 120.0, "default"),
    ]


def test_syftbox_config_gives_email_and_folder(tmp_path: Path) -> None:
    path = write_syftbox(tmp_path, {"email": "Ann@Example.org", "data_dir": "~/SyftBox", "refresh_token": "x"})
    settings = load_settings(environ={"HOME": str(tmp_path)})

    assert setting(settings, "email") == Setting("email", "ann@example.org", f"SyftBox config {path}")
    assert settings.data_dir == tmp_path / "SyftBox"

    named = load_settings(environ={"HOME": "/nowhere", "SYFTBOX_CLIENT_CONFIG_PATH": str(path)})
    assert named.email == "ann@example.org"
    assert load_settings(environ={"HOME": str(tmp_path), "SYFTBOX_EMAIL": "bob@x.org"}).email == "bob@x.org"


def test_syftbox_config_has_a_second_default_place(tmp_path: Path) -> None:
    second = tmp_path / ".config" / "syftbox" / "config.json"
    second.parent.mkdir(parents=True)
    second.write_text(json.dumps({"email": "ann@x.org", "data_dir": "/data"}))
    settings = load_settings(environ={"HOME": str(tmp_path)})
    assert settings.email == "ann@x.org"
    assert settings.syftbox_config == second

    first = write_syftbox(tmp_path, {"email": "bob@x.org", "data_dir": "/data"})
    assert load_settings(environ={"HOME": str(tmp_path)}).syftbox_config == first


def test_every_variable_sets_its_setting(tmp_path: Path) -> None:
    settings = load_settings(
        environ={
            "HOME": str(tmp_path),
            "SYFTBOX_EMAIL": "me@x.org",
            "SYFT_FLWR_AGGREGATOR": "DS@x.org",
            "SYFT_FLWR_TRANSPORT": "p2p",
            "SYFT_FLWR_APP_NAME": "flwr/diabetes",
            "SYFT_FLWR_DATASITES": "a@x.org, B@x.org",
            "SYFT_FLWR_HOME": "~/state",
            "SYFT_FLWR_ENCRYPTION_ENABLED": "off",
            "SYFT_FLWR_MSG_TIMEOUT": "1.5",
            "SYFT_FLWR_ROUND_TIMEOUT": "none",
            "SYFT_FLWR_MIN_REPLIES": "0.75",
            "SYFT_FLWR_GRACE": "2.5",
            "SYFT_FLWR_STRICT": "yes",
            "SYFT_FLWR_NODES": "online",
            "SYFT_FLWR_JOURNAL_LIMIT": "1.5GB",
            "SYFT_FLWR_POLL_INTERVAL": "0.25",
            "SYFT_FLWR_NODE_CONFIG": "partition-id=3 db='x y'",
            "SYFT_FLWR_SHARE_TRACEBACKS": "YES",
            "SYFT_FLWR_IDLE_AFTER": "none",
            "SYFT_FLWR_LOG_LEVEL": "debug",
            "SYFT_FLWR_LOG_JSON": "1",
            "SYFT_FLWR_KEEP": "on",
            "SYFT_FLWR_DISPLAY": "no",
            "SYFT_FLWR_TRACKING": "mlflow, tensorboard",
            "SYFT_FLWR_TENSORBOARD_FOLDER": "~/boards",
            "SYFT_FLWR_ROLE": "client",
            "SYFT_FLWR_WORKER_COMMAND": "docker run -i 'my image' python",
            "SYFT_FLWR_RUN_CONFIG": "own",
            "SYFT_FLWR_RUN_CONFIG_PINS": "lr=0.01",
            "SYFT_FLWR_RUN_CONFIG_OVERRIDES": "rounds=3 name='small net'",
            "DATA_DIR": str(tmp_path / "data"),
            "OUTPUT_DIR": "out",
            "GDRIVE_TOKEN_PATH": "/t.json",
            "SYFT_FLWR_GDRIVE_CLIENT_SECRETS": "/c.json",
            "SYFT_FLWR_GDRIVE_API": "http://127.0.0.1:8080/",
            "SYFT_FLWR_GDRIVE_TIMEOUT": "90",
            "SYFT_FLWR_GDRIVE_CONCURRENCY": "4",
            "SYFT_FLWR_THREADS": "2",
        }
    )

    assert {entry.name: entry.value for entry in settings} == {
        "transport": "p2p",
        "email": "me@x.org",
        "data_dir": None,
        "home": tmp_path / "state" / "me@x.org",
        "app_name": "diabetes",
        "aggregator": "ds@x.org",
        "datasites": ("a@x.org", "b@x.org"),
        "role": "client",
        "encryption": False,
        "msg_timeout": 1.5,
        "round_timeout": math.inf,
        "min_replies": 0.75,
        "grace": 2.5,
        "strict": True,
        "nodes": "online",
        "journal_limit": 1_500_000_000,
        "poll_interval": 0.25,
        "user_data_dir": tmp_path / "data",
        "output_dir": Path.cwd() / "out",
        "gdrive_token_path": Path("/t.json"),
        "gdrive_client_secrets": Path("/c.json"),
        "gdrive_api": "http://127.0.0.1:8080",
        "gdrive_timeout": 90.0,
        "gdrive_concurrency": 4,
        "threads": 2,
        "node_config": {"partition-id": 3, "db": "x y"},
        "share_tracebacks": True,
        "idle_after": math.inf,
        "log_level": "DEBUG",
        "log_json": True,
        "keep": True,
        "display": False,
        "tracking": ("mlflow", "tensorboard"),
        "tensorboard_folder": tmp_path / "boards",
        "worker_command": "docker run -i 'my image' python",
        "run_config": "own",
        "run_config_pins": {"lr": 0.01},
        "run_config_overrides": {"rounds": 3, "name": "small net"},
        "project_dir": None,
    }


def test_empty_variable_counts_as_unset() -> None:
    settings = load_settings(environ={"SYFT_FLWR_TRANSPORT": "", "SYFT_FLWR_MSG_TIMEOUT": "  ", "DATA_DIR": ""})

    assert not settings.explicit("transport")
    assert not settings.explicit("msg_timeout")
    assert settings.user_data_dir is None


def test_explicit_default_counts_as_set() -> None:
    assert load_settings(environ={"SYFT_FLWR_MSG_TIMEOUT": "120"}).explicit("msg_timeout")
    assert not load_settings(environ={}).explicit("msg_timeout")


def test_argument_none_counts_as_unset() -> None:
    assert load_settings(environ={"SYFT_FLWR_TRANSPORT": "p2p"}, transport=None).transport == "p2p"


def test_unknown_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="transprot"):
        load_settings(environ={}, transprot="p2p")


def test_settings_can_be_pickled() -> None:
    settings = load_settings(environ={"SYFTBOX_EMAIL": "me@x.org"})

    assert pickle.loads(pickle.dumps(settings)) == settings


# Home of a participant


def test_home_depends_on_the_whole_email(tmp_path: Path) -> None:
    homes = {
        load_settings(environ={"HOME": str(tmp_path), "SYFTBOX_EMAIL": email}).home
        for email in ("data@hospital-a.org", "data@hospital-b.org")
    }

    assert homes == {tmp_path / ".syft_flwr" / "data@hospital-a.org", tmp_path / ".syft_flwr" / "data@hospital-b.org"}


def test_home_in_synced_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "box" / "datasites" / "me@x.org").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "box" / "datasites" / "me@x.org")
    environ = {"SYFT_FLWR_HOME": str(tmp_path / "link"), "SYFTBOX_EMAIL": "me@x.org"}

    with pytest.raises(ConfigError, match=r"home \(environment SYFT_FLWR_HOME\).*datasites"):
        load_settings(environ=environ, data_dir=tmp_path / "box")

    environ["SYFT_FLWR_HOME"] = str(tmp_path / "box" / "state")
    assert load_settings(environ=environ, data_dir=tmp_path / "box").home == tmp_path / "box" / "state" / "me@x.org"


# Refused values


@pytest.mark.parametrize(
    ("variable", "value", "refused", "allowed"),
    [
        ("SYFT_FLWR_TRANSPORT", "gdrive", "gdrive", ", ".join(TRANSPORTS)),
        ("SYFT_FLWR_TRANSPORT", "SyftBox", "SyftBox", ", ".join(TRANSPORTS)),
        ("SYFTBOX_EMAIL", "../../etc@x.y/z", "../../etc@x.y/z", "name@example.org"),
        ("SYFT_FLWR_AGGREGATOR", "ds", "ds", "name@example.org"),
        ("SYFT_FLWR_DATASITES", "a@x.org,,b@x.org", "", "name@example.org"),
        ("SYFT_FLWR_DATASITES", "a@x.org,A@X.org", "a@x.org", "once"),
        ("SYFT_FLWR_DATASITES", "../../x@y.z", "../../x@y.z", "name@example.org"),
        ("SYFT_FLWR_APP_NAME", "a/b", "a/b", "letters"),
        ("SYFT_FLWR_APP_NAME", "a..b", "a..b", "letters"),
        ("SYFT_FLWR_MSG_TIMEOUT", "soon", "soon", "seconds"),
        ("SYFT_FLWR_MSG_TIMEOUT", "0", "0", "seconds"),
        ("SYFT_FLWR_MSG_TIMEOUT", "-1", "-1", "seconds"),
        ("SYFT_FLWR_MSG_TIMEOUT", "nan", "nan", "seconds"),
        ("SYFT_FLWR_MSG_TIMEOUT", "inf", "inf", "seconds"),
        ("SYFT_FLWR_MSG_TIMEOUT", "1e300", "1e300", "seconds"),
        ("SYFT_FLWR_POLL_INTERVAL", "3s", "3s", "seconds"),
        ("SYFT_FLWR_THREADS", "0", "0", "a whole number from 1 to 64"),
        ("SYFT_FLWR_THREADS", "65", "65", "a whole number from 1 to 64"),
        ("SYFT_FLWR_THREADS", "2.0", "2.0", "a whole number from 1 to 64"),
        ("SYFT_FLWR_THREADS", "\u0664", "\u0664", "a whole number from 1 to 64"),
        ("SYFT_FLWR_GDRIVE_CONCURRENCY", "1", "1", "a whole number from 2 to 64"),
        ("SYFT_FLWR_GDRIVE_CONCURRENCY", "many", "many", "a whole number from 2 to 64"),
        ("SYFT_FLWR_GDRIVE_TIMEOUT", "0.5", "0.5", "a number of seconds from 1 to 600"),
        ("SYFT_FLWR_GDRIVE_TIMEOUT", "601", "601", "a number of seconds from 1 to 600"),
        ("SYFT_FLWR_GDRIVE_TIMEOUT", "nan", "nan", "a number of seconds from 1 to 600"),
        ("SYFT_FLWR_GDRIVE_TIMEOUT", "none", "none", "a number of seconds from 1 to 600"),
        ("SYFT_FLWR_ENCRYPTION_ENABLED", "maybe", "maybe", "true, 1, yes, on, false, 0, no, off"),
        ("SYFT_FLWR_SHARE_TRACEBACKS", "2", "2", "true, 1"),
        ("SYFT_FLWR_ROLE", "boss", "boss", "server, client"),
        ("SYFT_FLWR_NODES", "some", "some", "all, online"),
        ("SYFT_FLWR_GRACE", "0", "0", "seconds"),
        ("SYFT_FLWR_IDLE_AFTER", "never", "never", "at most 1000000000, or none."),
        ("SYFT_FLWR_IDLE_AFTER", "inf", "inf", "seconds"),
        ("SYFT_FLWR_IDLE_AFTER", "0", "0", "seconds"),
        ("SYFT_FLWR_MIN_REPLIES", "0", "0", "above 0 and at most 1"),
        ("SYFT_FLWR_MIN_REPLIES", "-0.5", "-0.5", "above 0 and at most 1"),
        ("SYFT_FLWR_MIN_REPLIES", "1.01", "1.01", "above 0 and at most 1"),
        ("SYFT_FLWR_MIN_REPLIES", "80%", "80%", "above 0 and at most 1"),
        ("SYFT_FLWR_MIN_REPLIES", "nan", "nan", "above 0 and at most 1"),
        ("SYFT_FLWR_MIN_REPLIES", "inf", "inf", "above 0 and at most 1"),
        ("SYFT_FLWR_MIN_REPLIES", "1e-400", "1e-400", "above 0 and at most 1"),
        ("SYFT_FLWR_JOURNAL_LIMIT", "much", "much", "KB, MB, GB, TB"),
        ("SYFT_FLWR_JOURNAL_LIMIT", "-1", "-1", "a number of bytes"),
        ("SYFT_FLWR_JOURNAL_LIMIT", "10PB", "10PB", "KB, MB, GB, TB"),
        ("SYFT_FLWR_JOURNAL_LIMIT", "10GiB", "10GiB", "such as 10GB"),
        ("SYFT_FLWR_JOURNAL_LIMIT", "10G", "10G", "such as 10GB"),
        ("SYFT_FLWR_JOURNAL_LIMIT", "GB", "GB", "a number of bytes"),
        ("SYFT_FLWR_JOURNAL_LIMIT", "1e9", "1e9", "a number of bytes"),
        ("SYFT_FLWR_JOURNAL_LIMIT", "1,5GB", "1,5GB", "a number of bytes"),
        ("SYFT_FLWR_JOURNAL_LIMIT", "1.2345GB", "1.2345GB", "a number of bytes"),
        ("SYFT_FLWR_JOURNAL_LIMIT", "inf", "inf", "a number of bytes"),
        # A Kelvin sign, and digits of another script.
        ("SYFT_FLWR_JOURNAL_LIMIT", "10\u212aB", "10\u212aB", "KB, MB, GB, TB"),
        ("SYFT_FLWR_JOURNAL_LIMIT", "\u0661GB", "\u0661GB", "a number of bytes"),
    ],
)
def test_bad_value_error_names_source_and_choices(variable: str, value: str, refused: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environ={variable: value})

    assert f"(environment {variable})" in str(caught.value)
    assert repr(refused) in str(caught.value) or f" {refused} " in str(caught.value)
    assert allowed in caught.value.hint


@pytest.mark.parametrize(
    "table",
    ['transport = "gdrive"', "transport = true", "msg_timeout = true", "min_replies = true", "min_replies = 2",
     "min_replies = [0.5]", "grace = -1", "nodes = true", 'nodes = ["all"]', 'datasites = "a@x.org"', "datasites = 3",
     'datasites = ["a@x.org", 3]', 'aggregator = ["ds@x.org"]', "app_name = 3", 'datasites = {a = "b@x.org"}'],
)  # fmt: skip
def test_bad_project_value_names_the_file(table: str, tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", table)

    with pytest.raises(ConfigError) as caught:
        load_settings(project, environ={})

    assert f"{table.split(' ')[0]} ({project}/pyproject.toml [tool.syft_flwr])" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [({"msg_timeout": 10**400}, "msg_timeout"), ({"min_replies": 10**400}, "min_replies"),
     ({"min_replies": True}, "min_replies"), ({"journal_limit": True}, "journal_limit"),
     ({"journal_limit": 1.5}, "journal_limit"), ({"journal_limit": -1}, "journal_limit"),
     ({"nodes": 3}, "nodes"), ({"user_data_dir": 3}, "user_data_dir"), ({"encryption": 1}, "encryption")],
)  # fmt: skip
def test_bad_argument_error_names_the_argument(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} \(argument\)"):
        load_settings(environ={}, **arguments)


@pytest.mark.parametrize(
    "command", ["", "''", "'python", "~no-such-user/python", "a\0b", [], ["python", 3], ["python\ud800"], 3]
)
def test_value_that_is_no_command_is_refused(command: Any) -> None:
    with pytest.raises(ConfigError, match=r"^worker_command \(argument\): the value is not a command\n"):
        load_settings(environ={}, worker_command=command)


def test_pasted_token_is_never_shown() -> None:
    with pytest.raises(ConfigError, match="GDRIVE_TOKEN_PATH") as caught:
        load_settings(environ={"GDRIVE_TOKEN_PATH": '{\n "refresh_token": "hush"\n}'})

    assert "hush" not in caught.value.diagnose()


@pytest.mark.parametrize("word", ["true", "1", "yes", "on", "ON", " True "])
def test_words_for_true_are_accepted(word: str) -> None:
    assert load_settings(environ={"SYFT_FLWR_SHARE_TRACEBACKS": word}).share_tracebacks is True


@pytest.mark.parametrize("word", ["false", "0", "no", "off", "No"])
def test_words_for_false_are_accepted(word: str) -> None:
    assert load_settings(environ={"SYFT_FLWR_ENCRYPTION_ENABLED": word}).encryption is False


@pytest.mark.parametrize(("written", "share"), [("1", 1.0), ("0.8", 0.8), (" .5 ", 0.5), ("1e-3", 0.001), ("1.0", 1.0)])
def test_valid_shares_are_accepted(written: str, share: float) -> None:
    assert load_settings(environ={"SYFT_FLWR_MIN_REPLIES": written}).min_replies == share


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("0", 0),
        ("1", 1),
        ("007", 7),
        ("10000000000", 10**10),
        ("10B", 10),
        ("10KB", 10_000),
        ("10 kb", 10_000),
        ("1.5MB", 1_500_000),
        ("0.001 GB", 1_000_000),
        (" 10GB ", 10**10),
        ("2tb", 2 * 10**12),
        ("1.9", 1),
        ("999999999999999", 10**15 - 1),
    ],
)
def test_valid_sizes_are_accepted(written: str, size: int) -> None:
    found = load_settings(environ={"SYFT_FLWR_JOURNAL_LIMIT": written}).journal_limit

    assert (found, type(found)) == (size, int)


def test_share_and_size_can_be_numbers(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", 'min_replies = 1\ngrace = 5\nnodes = "online"')

    settings = load_settings(project, environ={}, journal_limit=5_000_000_000)

    assert (settings.min_replies, settings.grace, settings.nodes) == (1.0, 5.0, "online")
    assert settings.journal_limit == 5_000_000_000


@pytest.mark.parametrize(
    ("written", "name"),
    [("diabetes", "diabetes"), ("flwr/diabetes", "diabetes"), (" a.b-c_D9 ", "a.b-c_D9"), ("a" * 64, "a" * 64)],
)
def test_valid_app_names_are_accepted(written: str, name: str) -> None:
    assert normalise_app_name(written) == name


@pytest.mark.parametrize(
    "name",
    ["", "flwr/", "flwr/flwr/x", "a/b", "/a", "a\\b", "..", "a..b", ".hidden", "-a", "a b", "é", "a" * 65,
     "dist", "venv", "x.tmp", "x.LOG", "x.conflict.y", "mysyftrejected", "icon", "Icon", "model.pyc", "study.conflict",
     "trial.rejected", "syftignore", "stream.fifo", "a.syft.tmp.b", "b.tmp-1", "Thumbds.db", "x.syftkeep",
     "api", "API", "flwr/api"],
)  # fmt: skip
def test_unsyncable_app_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="app_name"):
        normalise_app_name(name)


# Broken files


def test_broken_toml_names_file_and_line(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", 'transport = "p2p"\naggregator = ds@x.org')

    with pytest.raises(
        ConfigError, match=rf"{project}/pyproject\.toml: broken TOML at line 3, column \d+: [A-Z]"
    ) as caught:
        load_settings(project, environ={})
    assert "Correct the file at this place" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[tool\n", "line 1, column 6"),
        ("a = [1,", "the end of the file"),
        ("a = 1\na" + ".b" * 40 + " = 1", "line 2"),
    ],
)
def test_place_of_broken_toml_is_named_once(text: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError, match=f"broken TOML at {place}: [A-Za-z]") as caught:
        load_settings(tmp_path, environ={})
    assert str(caught.value).count(place) == 1
    assert "(" not in str(caught.value)


@pytest.mark.parametrize("name", ["pyproject.toml", "config.json"])
@pytest.mark.parametrize("form", ["missing", "empty", "broken", "bytes", "huge", "folder", "pipe"])
def test_hint_for_a_broken_file_is_not_that_of_a_missing_one(name: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / name
    contents = {"empty": b"", "broken": b"{[", "bytes": b"\xff", "huge": bytes(2 << 20)}
    if form in contents:
        path.write_bytes(contents[form])
    elif form == "folder":
        path.mkdir()
    elif form == "pipe":
        os.mkfifo(path)
    is_project = name == "pyproject.toml"
    environ = {} if is_project else {"SYFTBOX_CLIENT_CONFIG_PATH": str(path)}
    with pytest.raises(ConfigError) as caught:
        load_settings(tmp_path if is_project else None, environ=environ)
    is_told_to_mend = any(word in caught.value.hint for word in ("Correct the file", "Save the file", "Move it away"))
    assert is_told_to_mend == (form != "missing"), caught.value.diagnose()
    assert ("does not exist" in str(caught.value)) == (form == "missing")


def test_non_utf8_project_names_the_line(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", "")
    (project / "pyproject.toml").write_bytes(b"# fine\n# \xff\n")

    with pytest.raises(ConfigError, match=r"pyproject\.toml: line 2 is not UTF-8"):
        load_settings(project, environ={})


def test_unknown_key_lists_allowed_keys(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", 'datasite = ["a@x.org"]')

    with pytest.raises(ConfigError, match="unknown key 'datasite'") as caught:
        load_settings(project, environ={})

    assert caught.value.hint == (
        "Allowed: transport, app_name, aggregator, datasites, msg_timeout, round_timeout, min_replies, grace, strict, nodes, "
        "tracking."
    )


@pytest.mark.parametrize(
    "key",
    [
        "encryption = false",
        "share_tracebacks = true",
        'home = "/tmp"',
        'email = "a@x.org"',
        'journal_limit = "1TB"',
    ],
)
def test_project_cannot_set_protective_settings(key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        load_settings(write_project(tmp_path / "p", key), environ={})


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\nsyft_flwr = 3", "[[tool.syft_flwr]]", "[tool.syft-flwr]\n"])
def test_misnamed_or_wrong_table_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)

    with pytest.raises(ConfigError, match=r"tool\.syft"):
        load_settings(tmp_path, environ={})


def test_missing_pyproject_error_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path}/pyproject\.toml"):
        load_settings(tmp_path, environ={})


def test_oversized_project_or_pipe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="at most 1048576"):
        load_settings(tmp_path, environ={})

    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=r"pyproject\.toml"):
        load_settings(tmp_path, environ={})


def test_deeply_nested_toml_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("a = " + "[" * 100_000)

    with pytest.raises(ConfigError, match="broken TOML"):
        load_settings(tmp_path, environ={})


# Errors in the SyftBox config


BROKEN = {
    "missing": None,
    "empty": "",
    "JSON": '{"email": "secret-token',
    "nested": "[" * 100_000,
    "object": "[1]",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_broken_default_syftbox_config_fails_on_use(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        write_syftbox(tmp_path, content)
    settings = load_settings(environ={"HOME": str(tmp_path)})

    for name in ("email", "data_dir", "home"):
        with pytest.raises(ConfigError, match=rf"SyftBox config {tmp_path}/\.syftbox/config\.json") as caught:
            settings.require(name)
        assert "secret-token" not in caught.value.diagnose()
        assert "SYFTBOX_CLIENT_CONFIG_PATH" in caught.value.hint
    assert load_settings(environ={"HOME": str(tmp_path)}, email="a@x.org").require("email") == "a@x.org"


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_broken_named_syftbox_config_fails_at_once(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "named.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ConfigError, match=rf"SyftBox config {path}"):
        load_settings(environ={"SYFTBOX_CLIENT_CONFIG_PATH": str(path)})


def test_error_names_key_missing_in_syftbox_config(tmp_path: Path) -> None:
    path = write_syftbox(tmp_path, {"email": "a@x.org", "data_dir": None})
    settings = load_settings(environ={"HOME": str(tmp_path), "SYFTBOX_CLIENT_CONFIG_PATH": str(path)})

    assert settings.require("email") == "a@x.org"
    with pytest.raises(ConfigError, match=rf"data_dir is not set: SyftBox config {path} has no 'data_dir'"):
        settings.require("data_dir")


@pytest.mark.parametrize(
    "content",
    [{"email": "../../x@y.z", "data_dir": "/d"}, {"email": "a@x.org", "data_dir": "SyftBox"}, {"email": "a@x.org", "data_dir": "."},
     {"email": "a@x.org", "data_dir": 3}],
)  # fmt: skip
def test_bad_syftbox_config_value_is_never_used(content: dict[str, Any], tmp_path: Path) -> None:
    path = write_syftbox(tmp_path, content)
    name = "email" if "@y" in content["email"] else "data_dir"
    settings = load_settings(environ={"HOME": str(tmp_path)})

    assert getattr(settings, name) is None
    with pytest.raises(ConfigError, match=rf"{name} \(SyftBox config"):
        settings.require(name)
    with pytest.raises(ConfigError, match=rf"{name} \(SyftBox config"):
        load_settings(environ={"SYFTBOX_CLIENT_CONFIG_PATH": str(path)})


def test_drive_ignores_email_of_syftbox_config(tmp_path: Path) -> None:
    write_syftbox(tmp_path, {"email": "other@x.org", "data_dir": "/d"})
    settings = load_settings(environ={"HOME": str(tmp_path)}, transport="p2p")

    with pytest.raises(ConfigError, match="email is not set") as caught:
        settings.require("email")

    assert "SYFTBOX_EMAIL" in caught.value.hint
    assert "SyftBox config" not in caught.value.hint


# Required settings


def test_missing_setting_names_all_its_sources(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", "")

    with pytest.raises(ConfigError, match="aggregator is not set") as caught:
        load_settings(project, environ={}).require("aggregator")

    for place in ("argument aggregator", "SYFT_FLWR_AGGREGATOR", f"{project}/pyproject.toml [tool.syft_flwr]"):
        assert place in caught.value.hint


def test_empty_datasites_are_refused(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", "datasites = []")

    with pytest.raises(ConfigError, match=rf"datasites is empty \({project}/pyproject.toml"):
        load_settings(project, environ={}).require("datasites")


def test_false_counts_as_set() -> None:
    assert load_settings(environ={}).require("share_tracebacks") is False


# Role of a participant


def role(email: str, aggregator: str = "ds@x.org", datasites: tuple[str, ...] = ("do@x.org",), **more: str) -> str:
    settings = load_settings(environ=more, email=email, aggregator=aggregator, datasites=datasites)
    return settings.participant_role()


def test_role_follows_exact_email() -> None:
    assert role("DS@X.org") == "server"
    assert role("do@x.org") == "client"


@pytest.mark.parametrize("email", ["s@x.org", "ds@x.or", "d@x.org", "xds@x.org"])
def test_similar_email_is_not_the_aggregator(email: str) -> None:
    assert role(email, datasites=(email,)) == "client"
    with pytest.raises(ConfigError, match=f"{email} .* is neither the aggregator nor one of the datasites"):
        role(email)


def test_aggregator_and_datasite_is_server_by_default() -> None:
    both = ("do@x.org", "ds@x.org")

    assert role("ds@x.org", datasites=both) == "server"
    assert role("ds@x.org", datasites=both, SYFT_FLWR_ROLE="client") == "client"


@pytest.mark.parametrize(("email", "asked"), [("do@x.org", "server"), ("ds@x.org", "client")])
def test_role_not_given_by_project_is_refused(email: str, asked: str) -> None:
    with pytest.raises(ConfigError, match=rf"role \(environment SYFT_FLWR_ROLE\): {email} cannot be the {asked}"):
        role(email, SYFT_FLWR_ROLE=asked)


# Imports


def test_settings_load_no_heavy_package() -> None:
    program = (
        "import sys, syft_flwr.config as c; c.load_settings(environ={});"
        "print(sorted({'flwr', 'pydantic', 'google', 'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
