"""The query language of Drive searches: parsing, and matching of words."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.emulators.gdrive.drive_errors import DriveError
from syft_flwr.emulators.gdrive.matching import starts_words
from syft_flwr.emulators.gdrive.query import (
    All,
    Comparison,
    Membership,
    Negation,
    Node,
    PropertyMatch,
    Some,
    is_several_parents,
    parse,
    quote,
    terms,
)

_A, _B, _C = (Comparison("name", "=", name) for name in "abc")
_TIMES = ("modifiedTime", "createdTime")
_TEXTS = st.text(max_size=20)
_MOMENTS = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - timezones adds the zone
_LEAVES = st.one_of(
    st.builds(Comparison, st.just("name"), st.sampled_from(["=", "!=", "contains"]), _TEXTS),
    st.builds(Comparison, st.sampled_from(_TIMES), st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), _MOMENTS),
    st.builds(Comparison, st.sampled_from(["trashed", "starred"]), st.sampled_from(["=", "!="]), st.booleans()),
    st.builds(Membership, _TEXTS, st.sampled_from(["parents", "owners", "writers", "readers"])),
    st.builds(PropertyMatch, st.sampled_from(["properties", "appProperties"]), _TEXTS, _TEXTS),
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(Negation, inner),
        st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Some, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


def _write(node: Node) -> str:
    """Return the query of a tree, with all parentheses."""
    match node:
        case All(parts):
            return "(" + " and ".join(map(_write, parts)) + ")"
        case Some(parts):
            return "(" + " or ".join(map(_write, parts)) + ")"
        case Negation(part):
            return f"not ({_write(part)})"
        case Membership(value, collection):
            return f"{quote(value)} in {collection}"
        case PropertyMatch(properties, key, value):
            return f"{properties} has {{key={quote(key)} and value={quote(value)}}}"
        case Comparison(term, sign, value):
            text = str(value).lower() if isinstance(value, bool) else quote(str(value))
            return f"{term} {sign} {text}"


@given(_TREES)
def test_written_query_is_parsed_back(tree: Node) -> None:
    assert parse(_write(tree)) == tree


@given(_TEXTS)
def test_quoted_string_is_parsed_back(text: str) -> None:
    assert parse(f"name = {quote(text)}") == Comparison("name", "=", text)


@given(_TREES, st.data())
def test_truncated_query_never_gains_terms(tree: Node, data: st.DataObject) -> None:
    text = _write(tree)
    cut = text[: data.draw(st.integers(0, len(text)))]
    with suppress(DriveError):
        assert len(list(terms(parse(cut)))) <= len(list(terms(tree)))


@given(st.text(alphabet="()'\\ =<>!{}andortheincoslkyu.0", max_size=60))
def test_random_query_raises_only_drive_errors(text: str) -> None:
    with suppress(DriveError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("name='a' or name='b' and name='c'", All((Some((_A, _B)), _C))),
        ("name='a' or (name='b' and name='c')", Some((_A, All((_B, _C))))),
        ("name='a' or name='b' or name='c'", Some((_A, _B, _C))),
        ("name='a' and name='b' and name='c'", All((_A, _B, _C))),
        ("(name='a' and name='b') and name='c'", All((All((_A, _B)), _C))),
        ("name='a' or name='b' and name='c' or name='a'", Some((All((Some((_A, _B)), _C)), _A))),
        ("name='a' or not name='b' and name='c'", All((Some((_A, Negation(_B))), _C))),
        ("'labels/contract' in labels", Membership("labels/contract", "labels")),
        ("not 'labels/contract' in labels", Negation(Membership("labels/contract", "labels"))),
        ("shortcutDetails.targetId = 'x'", Comparison("shortcutDetails.targetId", "=", "x")),
        ("shortcutDetails.targetId!='x'", Comparison("shortcutDetails.targetId", "!=", "x")),
        ("name='a' and name='b' or name='c'", Some((All((_A, _B)), _C))),
        ("not name='a' and name='b'", All((Negation(_A), _B))),
        ("not not name = 'a'", _A),
        ("not (name='a' or name='b')", Negation(Some((_A, _B)))),
        ("((name  =\n'a'))", _A),
        ("sharedWithMe", Comparison("sharedWithMe", "=", value=True)),
        ("sharedWithMe and name='a'", All((Comparison("sharedWithMe", "=", value=True), _A))),
        ("sharedWithMe = false", Comparison("sharedWithMe", "=", value=False)),
        ("'me' in owners", Membership("me", "owners")),
        (r"name = 'a\'b\\c'", Comparison("name", "=", r"a'b\c")),
        (
            "properties has {key='k' and value='v'}",
            PropertyMatch("properties", "k", "v"),
        ),
        (
            "modifiedTime > '2030-01-01T00:00:00'",
            Comparison("modifiedTime", ">", datetime(2030, 1, 1, tzinfo=UTC)),
        ),
        (
            "modifiedTime > '2030-01-01T02:00:00.500+02:00'",
            Comparison("modifiedTime", ">", datetime(2030, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
        ),
    ],
)
def test_query_is_parsed_into_a_tree(text: str, tree: Node) -> None:
    assert parse(text) == tree


@pytest.mark.parametrize(
    "text",
    [
        "name contains a",
        "name < 'a'",
        "name = true",
        "trashed contains 'x'",
        "trashed = 'true'",
        "mimeType in 'x'",
        "modifiedTime > 'yesterday'",
        "modifiedTime contains '2030'",
        "'x' in name",
        "'x' in trashed",
        "'x' has owners",
        "properties has {value='v' and key='k'}",
        "properties has {key='k'}",
        "properties = 'k'",
        "name = 'a' name = 'b'",
        "name = 'a' and",
        "and name = 'a'",
        "()",
        "not",
        'name = "a"',
        "name = 'a''",
        "(" * 1000 + "name = 'a'" + ")" * 1000,
        "NAME = 'a'",
        "sharedWithMe contains",
        "labels = 'x'",
        "'x' in shortcutDetails.targetId",
        "shortcutDetails.targetId contains 'x'",
        "shortcutDetails = 'x'",
        "shortcutDetails.targetMimeType = 'x'",
        "name.targetId = 'x'",
        "name = 'a'" + " or name = 'a' and name = 'b'" * 1000,
    ],
)
def test_invalid_query_is_refused(text: str) -> None:
    with pytest.raises(DriveError) as refusal:
        parse(text)
    assert (refusal.value.status, refusal.value.reason) == (400, "invalid")


@pytest.mark.parametrize(
    ("text", "several"),
    [
        ("'a' in parents or 'b' in parents", True),
        ("('a' in parents or 'b' in parents) and trashed = false", True),
        ("'a' in parents and name = 'b'", False),
        ("'a' in parents or name = 'b'", False),
    ],
)
def test_several_parents_are_detected(text: str, several: bool) -> None:
    assert is_several_parents(parse(text)) is several


@pytest.mark.parametrize(
    ("wanted", "name", "found"),
    [
        ("hello", "HelloWorld", True),
        ("world", "HelloWorld", False),
        ("world", "Hello_World-1", True),
        ("wor hel", "hello world", True),
        ("hello there", "hello world", False),
        ("", "anything", True),
        ("7", "model.7", True),
        ("ÄR", "über ärger", True),
    ],
)
def test_words_are_found_by_prefix(wanted: str, name: str, found: bool) -> None:
    assert starts_words(wanted, name) is found
