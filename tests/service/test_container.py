"""The image runs a client as a plain user with a read-only root: it is healthy, ends with SIGTERM, and keeps its keys."""

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servicekit.engine import IMAGE, Engine, missing_engine, open_engine
from tiny_project import DO1, DS, Tiny
from waiting import eventually

_UID = 10001
#: ``stop_grace_period`` of compose.yaml.
_GRACE = 30
_CLIENT = ("client", "--keep", "/project")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    if missing := missing_engine():
        pytest.skip(f"no image can be built here: {missing}")
    # podman refuses a folder with more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="engine-") as folder, open_engine(Path(folder)) as engine:
        yield engine


@pytest.fixture
def machines(tmp_path: Path) -> dict[str, list[str]]:
    """Return the options of the containers of an aggregator and of a data owner, which share the SyftBox folder."""
    tiny = Tiny(tmp_path, datasites=(DO1,))
    app = tiny.folder / "tiny" / "client_app.py"
    # The image does not have this package, and this test does not need it.
    app.write_text(app.read_text().replace("import psutil\n", ""))
    tmp_path.chmod(0o755)
    for path in (tmp_path / "SyftBox", tmp_path / "output", *(tmp_path / f"home-{each}" for each in (DS, DO1))):
        path.mkdir()
        # The owner of these folders on the host is the user of the container.
        os.chown(path, _UID, _UID)

    def options(email: str) -> list[str]:
        mounts = [
            f"{tmp_path}/home-{email}:/var/lib/syft-flwr",
            f"{tiny.folder}:/project:ro",
            f"{tiny.data[0]}:/data:ro",
            f"{tmp_path}/SyftBox:/syftbox",
            f"{tmp_path}/output:/output",
        ]
        known = {"SYFTBOX_EMAIL": email, "SYFTBOX_FOLDER": "/syftbox", "DATA_DIR": "/data", "OUTPUT_DIR": "/output"}
        environ = [f"--env={name}={value}" for name, value in {**known, "TINY_TASK": "report"}.items()]
        return [*(f"--volume={mount}" for mount in mounts), *environ]

    return {email: options(email) for email in (DS, DO1)}


def _image_facts(engine: Engine) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(engine.call("image", "inspect", IMAGE).stdout)[0]
    return facts


@pytest.mark.timeout(1800)
def test_image_has_a_plain_user_and_a_probe(engine: Engine) -> None:
    facts = _image_facts(engine)
    assert facts["Config"]["User"] == f"{_UID}:{_UID}"
    assert "/var/lib/syft-flwr" in facts["Config"]["Volumes"]
    probe = facts["Config"].get("Healthcheck") or facts["Healthcheck"]
    assert probe["Test"] == ["CMD", "syft-flwr", "health", "/project"]
    assert engine.run("--rm", "--entrypoint=id", IMAGE, "-u") == str(_UID)


@pytest.mark.timeout(1800)
def test_container_answers_and_keeps_its_keys(engine: Engine, machines: dict[str, list[str]], tmp_path: Path) -> None:
    def probe(container: str) -> int:
        return engine.call("exec", container, "syft-flwr", "health", "/project").returncode

    def fingerprint(container: str) -> str:
        found = re.search(r"own fingerprint: ([A-Z0-9 ]+)", engine.call("logs", container).stderr)
        return found[1] if found else ""

    first = engine.run("--detach", *machines[DO1], IMAGE, *_CLIENT)
    assert probe(first) == 1
    eventually(lambda: probe(first) == 0, "the health of the client")
    engine.run("--rm", *machines[DS], IMAGE, "server", "/project")
    reports = json.loads((tmp_path / "output" / "reports.json").read_text())
    assert [report["data"] for report in reports.values()] == [f"data of {DO1}"]
    began = time.monotonic()
    engine.call("stop", f"--time={_GRACE}", first)
    assert time.monotonic() - began < _GRACE
    assert engine.call("inspect", "--format={{.State.ExitCode}}", first).stdout.strip() == "143"
    key = fingerprint(first)
    engine.call("rm", first)
    second = engine.run("--detach", *machines[DO1], IMAGE, *_CLIENT)
    eventually(lambda: probe(second) == 0, "the health of the next container")
    assert key
    assert fingerprint(second) == key
    engine.run("--rm", *machines[DS], IMAGE, "server", "/project")
    engine.call("rm", "--force", "--time=0", second)
