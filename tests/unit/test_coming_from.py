"""The page for users of Flower's deployment and NVFLARE has a row for each of their names, and names only own settings."""

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from syft_flwr._messaging.wire import limits
from syft_flwr.cli.app import app as command_line
from syft_flwr.config import search

_PAGE = (Path(__file__).parents[2] / "docs" / "coming-from" / "flower.md").read_text(encoding="utf-8")
_CODE = re.compile(r"`([^`]+)`")

#: Options that Flower's programs had in 1.8 to 1.41 and have no more in 1.42, or only show with its enterprise package.
_EARLIER = [
    "--driver-api-address",
    "--supernode-address",
    "--dir",
    "--server",
    "--storage-dir",
    "--flwr-dir",
    "--exec-api-address",
    "--simulationio-api-address",
    "--serverappio-api-address",
    "--clientappio-api-address",
    "--rest",
    "--grpc-rere",
    "--grpc-adapter",
    "--auth-superlink-private-key",
    "--auth-superlink-public-key",
    "--fleet-api-num-workers",
    "--enable-http-api",
    "--disable-grpc-api",
    "--executor",
    "--executor-config",
    "--executor-dir",
    "--appio-ssl-certfile",
    "--appio-ssl-keyfile",
    "--appio-ssl-ca-certfile",
    "--account-auth-config",
    "--user-auth-config",
    "--enable-event-log",
    "--artifact-provider-config",
]
#: Keys of comm_config.json that NVFLARE 2.9.0 reads: VarName in nvflare.fuel.f3.comm_config; "backbone", "internal" and
#: "adhoc" in connector_manager; "grpc" in its two drivers; "shared-file" in file_driver; attach_rendezvous; aio_grpc_driver.
_COMM_CONFIG = [
    "max_message_size",
    "allow_adhoc_conns",
    "adhoc_conn_scheme",
    "internal_conn_scheme",
    "backbone_conn_gen",
    "subnet_heartbeat_interval",
    "subnet_trouble_threshold",
    "comm_driver_path",
    "heartbeat_interval",
    "use_aio_grpc",
    "streaming_chunk_size",
    "streaming_max_blob_size",
    "streaming_ack_wait",
    "streaming_window_size",
    "streaming_ack_interval",
    "streaming_max_out_seq_chunks",
    "streaming_read_timeout",
    "streaming_send_timeout",
    "streaming_ack_progress_timeout",
    "streaming_ack_progress_check_interval",
    "streaming_reliable",
    "streaming_retry_wait",
    "streaming_retry_timeout",
    "streaming_retry_max_pending_bytes",
    "sfm_send_stall_timeout",
    "sfm_close_stalled_connection",
    "sfm_send_stall_consecutive_checks",
    "tcp_no_delay",
    "backbone",
    "internal",
    "adhoc",
    "grpc",
    "shared-file",
    "client_api_attach",
    "simulate_unstable_network",
]
#: Keys of a job that NVFLARE 2.9.0 reads: ConfigVarName in nvflare.apis.fl_constant, without the module of decomposers
#: and ``max_reg_duration``, which is no key of a job.
_JOB = [
    "runner_sync_timeout",
    "max_runner_sync_timeout",
    "task_check_timeout",
    "task_check_interval",
    "job_heartbeat_interval",
    "end_run_readiness_timeout",
    "end_run_readiness_check_interval",
    "get_task_timeout",
    "submit_task_result_timeout",
    "rm_max_request_workers",
    "rm_query_interval",
    "dead_client_grace_period",
    "dead_client_check_lead_time",
    "strict_start_job_reply_check",
    "sync_client_jobs_require_previous_report",
    "client_outcome_wait_timeout",
    "cell_wait_timeout",
    "notify_cp_msg_timeout",
    "notify_cp_retry_timeout",
    "streaming_per_request_timeout",
    "download_chunk_size",
    "min_download_timeout",
    "min_file_size_for_streaming",
]
#: Keys of resources.json, fed_server.json and fed_client.json of NVFLARE 2.9.0: fed_client_base, base_client_deployer,
#: server_deployer, fed_server, and the files that ``nvflare provision`` writes.
_RESOURCES = [
    "client.communication_timeout",
    "client.retry_timeout",
    "client.compression",
    "client.maint_msg_timeout",
    "client.client_register_interval",
    "client.engine_create_timeout",
    "client.cell_check_frequency",
    "servers.heart_beat_timeout",
    "servers.max_num_clients",
    "servers.min_num_clients",
    "servers.admin_timeout",
    "servers.admin_storage",
    "servers.download_job_url",
    "servers.shutdown_period",
    "servers.check_engine_frequency",
    "max_reg_duration",
    "class_allow_list",
    "class_list_enforcement_mode",
    "allow_log_streaming",
    "servers.name",
    "servers.service.target",
    "servers.service.scheme",
    "servers.admin_server",
    "servers.admin_port",
    "ssl_private_key",
    "ssl_cert",
    "ssl_root_cert",
    "connection_security",
    "require_signed_jobs",
]


def _section(heading: str) -> str:
    head, found, rest = _PAGE.partition(f"# {heading}\n")
    assert found, f"the page has no heading {heading!r}"
    level = len(head) - len(head.rstrip("#")) + 1
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.M)[0]


def _rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the tables, without their heads."""
    for table in re.findall(r"(?:^\|.*\|\n)+", text, re.M):
        yield from ([cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()[2:])


def _named(text: str) -> set[str]:
    """Return the codes in the first column of the tables."""
    return {code for row in _rows(text) for code in _CODE.findall(row[0])}


def _options(program: str) -> set[str]:
    done = subprocess.run(
        [Path(sys.executable).parent / program, "--help"], capture_output=True, text=True, timeout=100, check=True
    )
    found = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", done.stdout, re.M))
    assert "--help" in found
    return found


#: A later Flower must not break the tests of an unchanged page, and an earlier one has other options.
_of_the_release = pytest.mark.skipif(
    f"Flower {version('flwr')}" not in _PAGE, reason=f"the page is about another release than {version('flwr')}"
)


@_of_the_release
@pytest.mark.parametrize(
    ("heading", "program"),
    [("SuperLink", "flower-superlink"), ("SuperNode", "flower-supernode"), ("SuperNode", "flower-superexec")],
)
def test_every_option_of_flower_has_a_row(heading: str, program: str) -> None:
    assert _options(program) - _named(_section(heading)) == set()


@_of_the_release
def test_every_argument_of_flower_has_a_row() -> None:
    import flwr.client
    import flwr.server
    import flwr.simulation
    from flwr.serverapp.strategy import Strategy

    named = _named(_section("`start_server` and `start_client`"))
    for call in (
        flwr.server.start_server,
        flwr.client.start_client,
        flwr.client.start_numpy_client,
        flwr.simulation.run_simulation,
        Strategy.start,
    ):
        arguments = inspect.signature(call).parameters.keys() - {"self"}
        if "config" in arguments:
            arguments = arguments - {"config"} | {"config.num_rounds", "config.round_timeout"}
        assert arguments - named == set(), call.__name__
    assert "History" in named


def test_every_earlier_option_of_flower_has_a_row() -> None:
    named = _named(_section("SuperLink") + _section("SuperNode"))
    assert set(_EARLIER) - named == set()
    rows = " ".join(row[0] for row in _rows(_section("SuperLink")))
    for name in ("OIDC", "Exec API", "Control API", "Fleet API", "ServerAppIO API", "ClientAppIO API"):
        assert name in rows


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("`comm_config.json`", _COMM_CONFIG),
        ("`resources.json` and job configuration", [*_JOB, *_RESOURCES]),
    ],
    ids=["comm_config", "resources and jobs"],
)
def test_every_key_of_nvflare_has_a_row(heading: str, names: list[str]) -> None:
    assert set(names) - _named(_section(heading)) == set()


def test_every_row_has_a_form_here_or_a_reason() -> None:
    rows = list(_rows(_PAGE))
    assert len(rows) > 150
    for row in rows:
        assert 2 <= len(row) <= 3, row
        assert row[-1], row
        if "no counterpart" in row[-1]:
            assert re.search(r"no counterpart, (because [\w`]+|for the same reason)", row[-1]), row


def test_same_reason_follows_a_reason() -> None:
    last = ""
    for row in _rows(_PAGE):
        if "for the same reason" in row[-1]:
            assert "no counterpart" in last, row
        last = row[-1]


def test_every_setting_in_the_column_here_exists() -> None:
    linked = set(re.findall(r"\[`(\w+)`\]\(\.\./configuration\.md[^)]*\)", _PAGE))
    assert len(linked) > 15
    assert linked <= search.FIELDS.keys()


def _own_options(command: Any) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
    for below in getattr(command, "commands", {}).values():
        yield from _own_options(below)


def test_every_option_in_the_column_here_exists() -> None:
    known = {*_own_options(get_command(command_line)), "--help"}
    for row in _rows(_section("SuperLink") + _section("SuperNode") + _section("`flwr` and its configuration")):
        for code in _CODE.findall(row[-1]):
            if code.startswith("-"):
                assert code.split()[0] in known, row


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("MAX_MESSAGE", 64 << 30, "64 GiB"),
        ("MAX_OBJECT", 64 << 20, "64 MiB"),
        ("MAX_ENVELOPE", 3_900_000, "3.9 MB"),
        ("HEARTBEAT_INTERVAL", 60, "between 5 and 60 s"),
        ("LEAST_HEARTBEAT_INTERVAL", 5, "between 5 and 60 s"),
    ],
)
def test_named_limits_are_those_of_the_protocol(name: str, value: float, shown: str) -> None:
    assert getattr(limits, name) == value
    assert shown in _PAGE
    assert set(re.findall(r"`(MAX_\w+)`", _PAGE)) <= vars(limits).keys()


def test_named_defaults_are_those_of_the_settings() -> None:
    shown = {"msg_timeout": "; 120 s", "grace": ", 60 s"}
    for name, text in shown.items():
        assert search.FIELDS[name].default == float(text.split()[-2])
        assert re.search(rf"\[`{name}`\][^|]*{re.escape(text)}", _PAGE)
