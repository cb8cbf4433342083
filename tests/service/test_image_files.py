"""The Dockerfile, compose.yaml and the lock of the image."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

_ROOT = Path(__file__).parents[2]
_PROGRAMS = Path(sys.executable).parent


def _linter(name: str) -> str:
    if not (_PROGRAMS / name).exists():
        pytest.skip(f"make service-test installs {name}")
    return str(_PROGRAMS / name)


def _services() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((_ROOT / "compose.yaml").read_text())["services"]
    return services


def test_linter_of_dockerfiles_has_no_finding() -> None:
    done = subprocess.run([_linter("hadolint"), str(_ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_compose_file_fits_its_schema() -> None:
    command = [_linter("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(_ROOT / "compose.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_docker_reads_the_compose_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker compose")
    known = {"PARTICIPANT": "do1@hospital-a.org", "PROJECT": str(tmp_path), "PRIVATE_DATA": str(tmp_path)}
    command = [docker, "compose", "--file", str(_ROOT / "compose.yaml"), "--profile", "syftbox", "config", "--quiet"]
    done = subprocess.run(command, env={"PATH": "/usr/bin:/bin", **known}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", ["client", "client-drive"])
def test_each_service_is_restricted(service: str) -> None:
    found = _services()[service]
    assert found["restart"] == "always"
    assert found["init"] is True
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in found
    assert "ports" not in found
    by_target = {volume["target"]: volume for volume in found["volumes"]}
    assert by_target["/project"]["read_only"]
    assert by_target["/data"]["read_only"]


def test_services_have_no_secret_and_no_other_image() -> None:
    text = (_ROOT / "compose.yaml").read_text() + (_ROOT / "Dockerfile").read_text()
    assert not re.search(r"(?i)password|token|secret", text)


def test_build_gets_no_other_file() -> None:
    lines = (_ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (_ROOT / "Dockerfile").read_text(), re.M)
    assert {f"!{name}" for line in copied for name in line.split()} == {rule for rule in rules if rule.startswith("!")}


def test_packages_of_the_image_are_locked() -> None:
    def entries(name: str) -> set[str]:
        return set(re.split(r"\n(?=\S)", (_ROOT / name).read_text().strip()))

    image, all_packages = entries("requirements-image.lock"), entries("requirements.lock")
    assert len(image) > 20
    assert {entry.split(" ")[0] for entry in image} <= {entry.split(" ")[0] for entry in all_packages}
    assert all("--hash=sha256:" in entry for entry in image)
    assert not any(entry.startswith(("pytest", "mypy", "ruff")) for entry in image)
