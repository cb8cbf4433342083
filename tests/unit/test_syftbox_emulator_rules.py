"""The rules of the SyftBox emulator: patterns, permissions, names and sync decisions."""

from datetime import UTC, datetime

import pytest

from syft_flwr.emulators.syftbox.acl import MAX_FILE_SIZE, Level, Permissions, parse_rules, specificity
from syft_flwr.emulators.syftbox.globs import literal, matches
from syft_flwr.emulators.syftbox.sync_names import (
    REALTIME,
    Marker,
    is_ignored,
    is_in_datasite,
    is_realtime,
    marked,
    scan_order,
)
from syft_flwr.emulators.syftbox.sync_scan import SyncAction, decide
from syft_flwr.errors import MalformedError

OWNER, ANNA, BEN = "owner@x.org", "anna@y.org", "ben@z.org"


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("**", "a", True),
        ("**", "a/b/c", True),
        ("*", "a", True),
        ("*", "a/b", False),
        ("*.csv", "a.csv", True),
        ("*.csv", "b/a.csv", False),
        ("**/*.csv", "a.csv", True),
        ("**/*.csv", "b/c/a.csv", True),
        ("a/**", "a/b/c", True),
        ("a/**", "ab/c", False),
        ("a/**/d", "a/d", True),
        ("a/**/d", "a/b/c/d", True),
        ("a/**/d", "a/b/c/e", False),
        ("a**b", "axxb", True),
        ("a**b", "ax/xb", False),
        ("?.txt", "a.txt", True),
        ("?.txt", "ab.txt", False),
        ("[ab].txt", "b.txt", True),
        ("[^ab].txt", "b.txt", False),
        ("[!ab].txt", "c.txt", True),
        ("{a,b/c}.txt", "b/c.txt", True),
        ("{a,{b,c}}x", "cx", True),
        ("{a,b}{c,d}", "bd", True),
        ("{a,b", "a", False),
        (r"\*.txt", "*.txt", True),
        (r"\*.txt", "a.txt", False),
        (r"\{a,b\}", "{a,b}", True),
        ("[{]a", "{a", True),
        ("a.txt", "A.txt", False),
    ],
)
def test_pattern_matches_like_doublestar(pattern: str, path: str, fits: bool) -> None:
    assert matches(pattern, path) is fits


@pytest.mark.parametrize("text", ["a*b", "{a,b}@x.org", "[x]", "back\\slash", "plain@x.org", "?"])
def test_literal_pattern_matches_only_itself(text: str) -> None:
    assert matches(literal(text), text)
    assert not matches(literal(text), text + "x")


def test_huge_pattern_matches_nothing_and_ends() -> None:
    assert not matches("{a,b}" * 40, "a" * 40)
    assert not matches("*a" * 200 + "b", "a" * 2_000)
    assert not matches("**/" * 100 + "x", "/".join("a" * 500))


@pytest.mark.parametrize(
    ("pattern", "score"),
    [
        ("**", -100),
        ("**/*", -99),
        ("file.txt", 16),
        ("folder/file.txt", 40),
        ("*.txt", -10),
        ("?file.txt", 16),
        ("[abc].txt", 16),
        ("**/*.txt", -14),
        ("{{.UserEmail}}/*", 78),
        ("user_{{.UserEmail}}/**", 80),
    ],
)
def test_specificity_equals_that_of_syftbox(pattern: str, score: int) -> None:
    assert specificity(pattern) == score


def permissions(**files: str) -> Permissions:
    """Return the permissions of the owner's datasite.

    ``files`` are the texts of the permission files by folder: ``root`` for the datasite, ``a__b`` for ``a/b``.
    """
    granted = Permissions()
    for folder, text in files.items():
        path = OWNER if folder == "root" else f"{OWNER}/{folder.replace('__', '/')}"
        granted.put(path, parse_rules(text.encode(), path))
    return granted


PRIVATE = "rules: []"
PUBLIC = "rules: [{pattern: '**', access: {read: ['*']}}]"
RPC = """
rules:
- pattern: '**/{{.UserEmail}}/*.request'
  access: {read: [USER], write: [USER]}
- pattern: 'shared/**'
  access: {read: ['*@y.org'], write: ['anna@y.org'], admin: ['ben@z.org']}
"""


@pytest.mark.parametrize(
    ("user", "path", "level", "allowed"),
    [
        (OWNER, "rpc/x/ben@z.org/1.request", Level.ADMIN, True),
        (ANNA, "rpc/x/anna@y.org/1.request", Level.WRITE, True),
        (ANNA, "rpc/anna@y.org/1.request", Level.READ, True),
        (ANNA, "rpc/x/ben@z.org/1.request", Level.READ, False),
        (ANNA, "rpc/x/anna@y.org/1.blob", Level.READ, False),
        (ANNA, "rpc/x/anna@y.org/deeper/1.request", Level.WRITE, False),
        ("eve@y.org", "rpc/shared/1", Level.READ, True),
        ("eve@y.org", "rpc/shared/1", Level.WRITE, False),
        ("eve@q.org", "rpc/shared/1", Level.READ, False),
        (ANNA, "rpc/shared/1", Level.WRITE, True),
        (BEN, "rpc/shared/1", Level.READ, True),
        (BEN, "rpc/shared/1", Level.WRITE, True),
        (ANNA, "rpc/other", Level.READ, False),
        (ANNA, "public/a", Level.READ, True),
        (ANNA, "public/a", Level.WRITE, False),
        (ANNA, "a", Level.READ, False),
        # Every participant reads permission files, and only admins write them.
        (ANNA, "syft.pub.yaml", Level.READ, True),
        (ANNA, "rpc/shared/syft.pub.yaml", Level.WRITE, False),
        (BEN, "rpc/shared/syft.pub.yaml", Level.WRITE, True),
    ],
)
def test_nearest_most_specific_rule_decides(user: str, path: str, level: Level, allowed: bool) -> None:
    granted = permissions(root=PRIVATE, public=PUBLIC, rpc=RPC)
    assert granted.allow(user, f"{OWNER}/{path}", level) is allowed
    assert granted.allow(user, f"{OWNER}/{path}", level) is allowed, "the cached decision is the same"


def test_rules_of_parent_folders_are_not_inherited() -> None:
    granted = permissions(root=PUBLIC, inner=PRIVATE)
    assert granted.allow(ANNA, f"{OWNER}/a", Level.READ)
    assert not granted.allow(ANNA, f"{OWNER}/inner/a", Level.READ)


def test_terminal_file_hides_files_below_it() -> None:
    granted = permissions(root=PRIVATE, safe="terminal: true\n" + PRIVATE, safe__inner=PUBLIC)
    assert not granted.allow(ANNA, f"{OWNER}/safe/inner/a", Level.READ)
    granted = permissions(root="terminal: true\n" + PUBLIC, inner=PRIVATE)
    assert granted.allow(ANNA, f"{OWNER}/inner/a", Level.READ)


def test_order_of_rules_does_not_matter() -> None:
    rules = ["{pattern: '**', access: {read: ['*']}}", "{pattern: 'secret/*', access: {read: []}}"]
    for text in (", ".join(rules), ", ".join(reversed(rules))):
        granted = permissions(root=f"rules: [{text}]")
        assert granted.allow(ANNA, f"{OWNER}/a", Level.READ)
        assert not granted.allow(ANNA, f"{OWNER}/secret/a", Level.READ)


def test_datasite_without_rules_is_private() -> None:
    granted = Permissions()
    assert granted.allow(OWNER, f"{OWNER}/a", Level.WRITE)
    assert not granted.allow(ANNA, f"{OWNER}/a", Level.READ)


def test_prefix_of_an_email_is_not_the_owner() -> None:
    assert not Permissions().allow("owner@x.or", f"{OWNER}/a", Level.READ)


def test_removed_rules_no_longer_apply() -> None:
    granted = permissions(root=PRIVATE, public=PUBLIC)
    assert granted.allow(ANNA, f"{OWNER}/public/a", Level.READ)
    granted.remove(f"{OWNER}/public")
    assert not granted.allow(ANNA, f"{OWNER}/public/a", Level.READ)


def test_email_in_a_template_is_not_a_pattern() -> None:
    granted = permissions(root="rules: [{pattern: '{{.UserEmail}}/*', access: {read: [USER]}}]")
    starred = "{anna,ben}@y.org"
    assert granted.allow(starred, f"{OWNER}/{starred}/a", Level.READ)
    assert not granted.allow(starred, f"{OWNER}/anna@y.org/a", Level.READ)


@pytest.mark.parametrize(
    ("template", "folder"),
    [
        ("{{.UserEmail}}", "anna@y.org"),
        ("{{ .UserEmail }}", "anna@y.org"),
        ("{{upper .UserEmail}}", "ANNA@Y.ORG"),
        ("{{.UserHash}}", "c2efb8b6c6a5e4c3"),
        ("{{sha2 .UserEmail 16}}", "c2efb8b6c6a5e4c3"),
    ],
)
def test_template_contains_the_user(template: str, folder: str) -> None:
    import hashlib

    folder = hashlib.sha256(ANNA.encode()).hexdigest()[:16] if folder.startswith("c2ef") else folder
    granted = permissions(root=f"rules: [{{pattern: '{template}/*', access: {{read: [USER]}}}}]")
    assert granted.allow(ANNA, f"{OWNER}/{folder}/a", Level.READ)
    assert not granted.allow(BEN, f"{OWNER}/{folder}/a", Level.READ)


def test_rule_with_an_unknown_template_never_applies() -> None:
    granted = permissions(root="rules: [{pattern: '{{.Secret}}*', access: {read: ['*']}}]")
    assert not granted.allow(ANNA, f"{OWNER}/a", Level.READ)


@pytest.mark.parametrize(
    "text",
    [
        "rules: {a: b}",
        "rules: [1]",
        "rules: [{access: {read: []}}]",
        "rules: [{pattern: '', access: {}}]",
        "rules: [{pattern: a}]",
        "rules: [{pattern: a, access: {read: anna@y.org}}]",
        "rules: [{pattern: a, access: {read: [1]}}]",
        "rules: [{pattern: a, access: [read]}]",
        "terminal: maybe",
        "just text",
        "rules: [",
        "rules: *missing",
        "rules: !!python/object/apply:os.system [id]",
        "{a: " * 10_000,
        "#" + "x" * MAX_FILE_SIZE,
        "rules: [{pattern: '" + "x" * 600 + "', access: {}}]",
    ],
)
def test_invalid_permission_file_error_names_it(text: str) -> None:
    with pytest.raises(MalformedError, match="here/syft"):
        parse_rules(text.encode(), "here/syft.pub.yaml")


def test_file_without_rules_is_private() -> None:
    for text in (b"", b"rules:", b"terminal: false", b"unknown: 1"):
        assert [rule.pattern for rule in parse_rules(text, "x").rules] == ["**"]


@pytest.mark.parametrize(
    "name",
    [
        "a.tmp",
        "a.log",
        ".a.request.0f.tmp",
        "x/a.conflict.request",
        "x/a.rejected.20300102030405.request",
        "a.rejected",
        "a.syftrejected.request",
        "asyftconflict",
        ".syftkeep",
        "dist/a",
        "x/venv/a",
        "x/logs/a",
        "x/__pycache__/a",
        "a.pyc",
        "x/.git/config",
        "folder.tmp/a",
        "a.request.syft.tmp.123",
        ".DS_Store",
        "stream.tcp",
        "x/.syftkeep",
        "syftignore",
    ],
)
def test_ignored_name_is_recognised(name: str) -> None:
    assert is_ignored(f"{OWNER}/{name}")


@pytest.mark.parametrize(
    "name",
    ["a", "dist", "venv", ".hidden", "a.request", "tmp/a", "a.logs", "distribution/a", "Thumbs.db", ".syft-tmp/a"],
)
def test_other_name_is_not_ignored(name: str) -> None:
    assert not is_ignored(f"{OWNER}/{name}")


@pytest.mark.parametrize(
    ("name", "at_once"),
    [
        (f"{OWNER}/a.request", True),
        (f"{OWNER}/x/y/a.response", True),
        (f"{OWNER}/syft.pub.yaml", False),
        (f"{OWNER}/a.requests", False),
        (f"{OWNER}/request", False),
        (f"{OWNER}/dist/a.request", False),
        (f"{OWNER}/a.rejected.request", False),
        (f"{OWNER}/x.conflicts/a.request", False),
        ("a.request", False),
        ("folder/a.request", False),
    ],
)
def test_only_messages_in_a_datasite_are_pushed(name: str, at_once: bool) -> None:
    assert is_realtime(name) is at_once


def test_newer_releases_push_permission_files() -> None:
    assert is_realtime(f"{OWNER}/syft.pub.yaml", (*REALTIME, "syft.pub.yaml"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x/a.request", "x/a.rejected.request"),
        ("a", "a.rejected"),
        ("x.y/a", "x.y/a.rejected"),
        ("a.b.c", "a.b.rejected.c"),
    ],
)
def test_marker_is_before_the_suffix(name: str, expected: str) -> None:
    assert marked(name, Marker.REJECTED) == expected
    assert is_ignored(f"{OWNER}/{expected}")


def test_marker_can_contain_a_time() -> None:
    moment = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert marked("a.request", Marker.CONFLICT, moment) == "a.conflict.20300102030405.request"


def test_datasite_is_named_by_an_email() -> None:
    assert is_in_datasite("a@x.org/b")
    assert not is_in_datasite("a@x.org")
    assert not is_in_datasite("a@x/b")
    assert not is_in_datasite("a/b/c")


def test_scan_order_is_own_permissions_rpc_rest() -> None:
    names = ["o@x.org/big.bin", "o@x.org/rpc/a", "o@x.org/syft.pub.yaml", "me@x.org/z"]
    assert sorted(names, key=lambda name: scan_order(name, 1_000, "me@x.org")) == names[::-1]


@pytest.mark.parametrize(
    ("local", "remote", "known", "action"),
    [
        (None, None, None, SyncAction.KEEP),
        ("1", "1", "1", SyncAction.KEEP),
        ("1", "1", None, SyncAction.ADOPT),
        ("2", "2", "1", SyncAction.ADOPT),
        (None, None, "1", SyncAction.FORGET),
        ("1", None, None, SyncAction.UPLOAD),
        ("2", "1", "1", SyncAction.UPLOAD),
        ("2", None, "1", SyncAction.UPLOAD),
        (None, "1", None, SyncAction.DOWNLOAD),
        ("1", "2", "1", SyncAction.DOWNLOAD),
        (None, "2", "1", SyncAction.DOWNLOAD),
        (None, "1", "1", SyncAction.DELETE_REMOTE),
        ("1", None, "1", SyncAction.DELETE_LOCAL),
        ("2", "3", "1", SyncAction.CONFLICT),
        ("1", "2", None, SyncAction.CONFLICT),
    ],
)
def test_scan_compares_local_remote_and_last_state(
    local: str | None, remote: str | None, known: str | None, action: SyncAction
) -> None:
    assert decide(local, remote, known) is action
