"""Subscriptions of a SyftBox client: the last matching rule decides, and others are blocked by default."""

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.transport._syftbox.subscription_file import NEW_FILE, SubscriptionFile, SubscriptionFileError, rule_lines

NAME = "do1@b.org/app_data/flwr/trial/objects/00/x.blob"


def rule(action: str, path: str, datasite: str = "") -> dict[str, str]:
    return {"action": action, "datasite": datasite, "path": path}


def allows(*rules: Any, default: Any = "block", name: str = NAME) -> bool:
    return SubscriptionFile.parse({"defaults": {"action": default}, "rules": list(rules)}).allow(name)


@pytest.mark.parametrize(
    ("default", "allowed"),
    [
        ("allow", True),
        (" Allow ", True),
        ("block", False),
        ("deny", False),
        ("pause", False),
        ("", False),
        (None, False),
    ],
)
def test_default_decides_without_a_rule(default: str | None, allowed: bool) -> None:
    assert allows(default=default) is allowed


@pytest.mark.parametrize("document", [None, {}, {"version": 1}, {"defaults": None, "rules": None}])
def test_document_without_a_default_blocks(document: object) -> None:
    assert not SubscriptionFile.parse(document).allow(NAME)


@pytest.mark.parametrize(
    ("datasite", "path"),
    [
        ("do1@b.org", "**"),
        ("do1@b.org", "app_data/**"),
        ("do1@b.org", "/app_data/flwr/**"),
        ("do1@b.org", "**/*.blob"),
        ("do1@b.org", "app_data/*/trial/objects/0?/x.blob"),
        ("do1@b.org", "app_data/flwr/{other,trial}/**"),
        ("do1@b.org", "{public,app_data/flwr}/**"),
        ("do1@b.org", "**/objects/[^1]0/x.blob"),
        ("*@b.org", "**"),
        ("do?@b.org", "./app_data/**"),
        ("", "**"),
        ("", "do1@b.org/**"),
        ("", "*/app_data/**/x.blob"),
        ("", "**/x.blob"),
        ("", NAME),
    ],
)
def test_rule_matches(datasite: str, path: str) -> None:
    assert allows(rule("allow", path, datasite))


@pytest.mark.parametrize(
    ("datasite", "path"),
    [
        ("do1@b.org", "*"),
        ("do1@b.org", "app_data/*"),
        ("do1@b.org", "do1@b.org/**"),
        ("do1@b.org", "app_data/flwr/trial2/**"),
        ("do1@b.org", ""),
        ("do2@b.org", "**"),
        ("b.org", "**"),
        ("", "do1@b.org"),
        ("", "app_data/**"),
        ("", ""),
        ("", "[/**"),
        ("", "{"),
    ],
)
def test_other_rule_does_not_match(datasite: str, path: str) -> None:
    assert not allows(rule("allow", path, datasite))


def test_last_matching_rule_decides() -> None:
    block, allow, other = rule("block", "**", "do1@b.org"), rule("allow", "**"), rule("block", "public/**", "do1@b.org")
    assert allows(block, allow, other)
    assert not allows(allow, block, other)


def test_rule_without_an_action_changes_nothing() -> None:
    assert allows(rule("allow", "**"), {"path": "**"})
    assert not allows(rule("allow", "**"), rule("", "**"))


@pytest.mark.parametrize(
    "document",
    [
        7,
        [],
        "allow",
        {"defaults": "allow"},
        {"defaults": {"action": "maybe"}},
        {"defaults": {"action": ["allow"]}},
        {"rules": {"a": 1}},
        {"rules": ["x"]},
        {"rules": [rule("maybe", "**")]},
        {"rules": [{"action": "allow", "path": 7}]},
        {"rules": [rule("allow", "x" * 600)]},
        {"rules": [rule("allow", "**")] * 1_001},
    ],
)
def test_document_of_another_form_is_refused(document: object) -> None:
    with pytest.raises(SubscriptionFileError):
        SubscriptionFile.parse(document)


def test_missing_file_has_no_subscriptions(tmp_path: Path) -> None:
    assert SubscriptionFile.read(tmp_path / "syft.sub.yaml") is None
    assert SubscriptionFile.read(tmp_path / "nowhere" / "syft.sub.yaml") is None


def test_empty_file_blocks(tmp_path: Path) -> None:
    path = tmp_path / "syft.sub.yaml"
    path.touch()
    assert SubscriptionFile.read(path) == SubscriptionFile()


def test_file_in_the_form_of_the_client_is_read(tmp_path: Path) -> None:
    path = tmp_path / "syft.sub.yaml"
    path.write_text("version: 1\ndefaults:\n    action: pause\nrules:\n    - action: allow\n      path: '**/x.blob'\n")
    found = SubscriptionFile.read(path)
    assert found
    assert found.allow(NAME)
    assert not found.allow("do1@b.org/public/card.json")


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"!!python/object:os.system {}", b"- 1", b"[" * 5_000])
def test_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "syft.sub.yaml"
    path.write_bytes(content)
    with pytest.raises(SubscriptionFileError):
        SubscriptionFile.read(path)


@pytest.mark.parametrize("value", ["2020-13-45", "1" * 5_000, "0b_", "2020-01-01 00:00:00+99:99"])
def test_impossible_value_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "syft.sub.yaml"
    path.write_text(f"version: {value}\n")
    with pytest.raises(SubscriptionFileError):
        SubscriptionFile.read(path)


def test_action_of_repeated_aliases_is_not_expanded(tmp_path: Path) -> None:
    # As text, the last list would have 28 MB.
    lists = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 8))]
    path = tmp_path / "syft.sub.yaml"
    path.write_text("\n".join([*lists, "defaults: {action: *a7}"]))
    tracemalloc.start()
    try:
        with pytest.raises(SubscriptionFileError, match="action"):
            SubscriptionFile.read(path)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "syft.sub.yaml"
    path.write_bytes(b"# \n" * 500_000)
    with pytest.raises(SubscriptionFileError, match="at most"):
        SubscriptionFile.read(path)


@given(st.text("do1@b.rg'#&*", min_size=1, max_size=12))
def test_written_lines_are_read_back(email: str) -> None:
    text = "\n".join([*NEW_FILE, *rule_lines([(email, "public/x.json")])])
    assert yaml.safe_load(text)["rules"] == [rule("allow", "public/x.json", email)]
