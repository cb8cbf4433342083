"""The hosted workflow installs only locked packages and runs only pinned actions."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).parents[2]
_WORKFLOWS = sorted((_ROOT / ".github" / "workflows").glob("*.yml"))
#: Extras that are tested in an environment of their own: the packages of MLflow are many.
_APART = {"mlflow", "tensorboard"}
#: A line of the lock: one exact release, and at least one hash of its files.
_LOCKED = re.compile(r"(?P<requirement>[^\\\n]+?) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)")


@pytest.fixture(scope="module")
def locked() -> dict[str, list[Requirement]]:
    """Return the locked releases by name; a package can have several, each for some systems or Pythons."""
    text = (_ROOT / "requirements.lock").read_text(encoding="utf-8")
    found: dict[str, list[Requirement]] = {}
    for line in _LOCKED.finditer(text):
        requirement = Requirement(line["requirement"])
        found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    assert _LOCKED.sub("", text) == "", "each line has a release and its hashes"
    return found


def _wanted() -> list[Requirement]:
    """Return the requirements of this package, of its extras, of what builds it, and of the groups in the lock."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = [
        entry
        for extra, entries in project["project"]["optional-dependencies"].items()
        if extra not in _APART
        for entry in entries
    ]
    groups, waiting = [], ["locked"]
    while waiting:
        for entry in project["dependency-groups"][waiting.pop()]:
            if isinstance(entry, dict):
                waiting.append(entry["include-group"])
            else:
                groups.append(entry)
    return [
        Requirement(entry)
        for entry in (*project["build-system"]["requires"], *project["project"]["dependencies"], *extras, *groups)
    ]


def test_lock_has_each_required_package(locked: dict[str, list[Requirement]]) -> None:
    for wanted in _wanted():
        releases = locked.get(canonicalize_name(wanted.name), [])
        assert releases, f"run `make lock`: {wanted} is missing"
        for release in releases:
            (exact,) = release.specifier
            assert exact.operator == "=="
            assert wanted.specifier.contains(exact.version, prereleases=True), f"run `make lock`: {wanted}, {release}"


def test_lock_names_no_package_index() -> None:
    assert "://" not in (_ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", _WORKFLOWS, ids=lambda path: path.stem)
def test_each_action_is_pinned_by_commit(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses:(.*)", text)
    assert used
    for action in used:
        assert re.fullmatch(r" [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


@pytest.mark.parametrize("path", _WORKFLOWS, ids=lambda path: path.stem)
def test_each_workflow_installs_the_lock(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.search(r'^env:\n(?:  #.*\n)*  LOCKED: "1"$', text, re.M)
    steps = re.findall(r"run: (.+)$", text, re.M)
    assert steps
    assert all(step.startswith("make ") for step in steps)
    assert re.search(r"^permissions:\n  contents: read$", text, re.M)
