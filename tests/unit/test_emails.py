"""Emails of participants: normalisation, and the refusal of invalid ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.emails import normalise, normalise_all
from syft_flwr.errors import ConfigError
from syft_flwr.names import card, is_valid_name


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        ("anna@x.org", "anna@x.org"),
        ("  Anna.Smith@Hospital-A.ORG\n", "anna.smith@hospital-a.org"),
        ("o'neil@x.org", "o'neil@x.org"),
        ("a+b=c!#$%&'^_`~-@x.org", "a+b=c!#$%&'^_`~-@x.org"),
        ("1@2.org", "1@2.org"),
        ("x" * 64 + "@" + "y" * 63 + ".org", "x" * 64 + "@" + "y" * 63 + ".org"),
    ],
)
def test_email_has_one_spelling(email: str, expected: str) -> None:
    assert normalise(email) == expected


@pytest.mark.parametrize(
    "email",
    [
        "",
        " ",
        "anna",
        "anna@",
        "@x.org",
        "anna@x",
        "anna@@x.org",
        "anna@x..org",
        "anna@.x.org",
        "anna@x.org.",
        "anna@-x.org",
        "anna@x-.org",
        ".anna@x.org",
        "anna.@x.org",
        "an..na@x.org",
        "an na@x.org",
        "anna@x.org/../ben@y.org",
        "../../etc@x.y",
        "a/b@x.org",
        "a\\b@x.org",
        "*@x.org",
        "an?na@x.org",
        '"anna"@x.org',
        "anna@[127.0.0.1]",
        "änna@x.org",
        "anna@bücher.org",
        "anna@x.org\x00",
        "anna\n@x.org",
        "anna@" + "y" * 64 + ".org",
        "x" * 250 + "@y.org",
        None,
        7,
        ["anna@x.org"],
    ],
)
def test_invalid_email_error_names_its_setting(email: object) -> None:
    with pytest.raises(ConfigError, match="aggregator: ") as caught:
        normalise(email, what="aggregator")  # type: ignore[arg-type]
    assert "name@example.org" in caught.value.hint


@pytest.mark.parametrize(
    "email",
    ["do@hospital.log", "a.rejected.b@x.org", "do@sub.conflict.org", "syftconflict@x.org", "x.tmp-1@y.org", "a@b.PYC"],
)
def test_email_that_syftbox_ignores_is_refused(email: str) -> None:
    with pytest.raises(ConfigError, match=r"datasites: .* cannot name a datasite"):
        normalise_all([email])


@pytest.mark.parametrize("email", ["a{b@x.org", "a}b@x.org", "{}@x.org"])
def test_email_with_a_brace_is_refused(email: str) -> None:
    with pytest.raises(ConfigError, match="SyftBox reads a brace as a part of a pattern") as caught:
        normalise(email)
    assert "without braces" in caught.value.hint


@given(st.emails() | st.text(max_size=30))
def test_accepted_email_is_a_valid_folder_name(email: str) -> None:
    try:
        normal = normalise(email)
    except ConfigError:
        return

    assert normalise(normal) == normal == normalise(normal.upper())
    assert normal.isascii()
    assert normal.isprintable()
    assert not set(normal) & set('/\\*?"<>|: ')
    assert is_valid_name(card(normal))


def test_email_list_keeps_its_order() -> None:
    assert normalise_all(["B@x.org", " a@x.org "]) == ["b@x.org", "a@x.org"]
    assert normalise_all([]) == []


def test_duplicate_participant_is_named_in_the_error() -> None:
    with pytest.raises(ConfigError, match=r"datasites: a@x\.org is listed twice"):
        normalise_all(["a@x.org", "b@x.org", "A@X.org"])


def test_single_email_is_refused_as_a_list() -> None:
    with pytest.raises(ConfigError, match="expected a list"):
        normalise_all("a@x.org")
