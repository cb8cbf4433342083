"""A misspelt variable of a setting is told with the closest name."""

import pytest

from syft_flwr.config import load_settings
from syft_flwr.config.misspelt import misspelt
from syft_flwr.config.search import FIELDS, SYFTBOX_CONFIG


@pytest.mark.parametrize(
    ("name", "closest"),
    [
        ("SYFT_FLWR_MSG_TIME_OUT", "SYFT_FLWR_MSG_TIMEOUT"),
        ("SYFT_FLWR_ENCRYPTION", "SYFT_FLWR_ENCRYPTION_ENABLED"),
        ("SYFT_FLWR_DATASITE", "SYFT_FLWR_DATASITES"),
        ("SYFT_FLWR_HOEM", "SYFT_FLWR_HOME"),
        ("SYFTFLWR_APP_NAME", "SYFT_FLWR_APP_NAME"),
        ("SYFTBOX_EMAILS", "SYFTBOX_EMAIL"),
        ("GDRIVE_TOKEN_PATHS", "GDRIVE_TOKEN_PATH"),
        ("SYFT_FLWR_zzzzzzzzzzzzzzzzzz", ""),
    ],
)
def test_misspelt_variable_has_the_closest_name(name: str, closest: str) -> None:
    assert misspelt({name: "1", "PATH": "/bin"}) == {name: closest}


@pytest.mark.parametrize(
    "name",
    [
        *(field.environment for field in FIELDS.values()),
        SYFTBOX_CONFIG,
        "SYFT_FLWR_WORKER_MARK",
        "SYFT_FLWR_TEST_SYFTBOX",
        "SYFTBOX_SERVER_URL",
        "SYFTBOX_ACCESS_TOKEN",
        "HOME",
    ],
)
def test_known_variable_is_not_misspelt(name: str) -> None:
    assert misspelt({name: "1"}) == {}


def test_misspelt_variable_is_told_once_in_a_process(logged: list[str]) -> None:
    for _ in range(3):
        load_settings(environ={"SYFT_FLWR_GRACE_": "7", "HOME": "/"})
    (line,) = (line for line in logged if "SYFT_FLWR_GRACE_ " in line)
    assert line.startswith("WARNING")
    assert "did you mean SYFT_FLWR_GRACE?" in line
