"""Field masks, which select the parts of a response."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.emulators.gdrive.drive_errors import DriveError
from syft_flwr.emulators.gdrive.fields import apply, parse
from syft_flwr.emulators.gdrive.schema import ANSWERS, DEFAULTS, FILE

_LIST = ANSWERS["files.list"]
_PAGE: dict[str, Any] = {
    "kind": "drive#fileList",
    "files": [
        {
            "id": "1",
            "name": "a",
            "owners": [{"emailAddress": "a@x.org", "me": True}],
            "properties": {"k": "v", "l": "w"},
        },
        {"id": "2", "name": "b"},
    ],
}


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        ("*", _PAGE),
        ("kind", {"kind": "drive#fileList"}),
        ("files/id", {"files": [{"id": "1"}, {"id": "2"}]}),
        ("files(id)", {"files": [{"id": "1"}, {"id": "2"}]}),
        (" files ( id , name ) ", {"files": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]}),
        ("files(owners/me)", {"files": [{"owners": [{"me": True}]}, {}]}),
        ("files/owners(me)", {"files": [{"owners": [{"me": True}]}, {}]}),
        ("files/properties/k", {"files": [{"properties": {"k": "v"}}, {}]}),
        ("files/properties", {"files": [{"properties": {"k": "v", "l": "w"}}, {}]}),
        ("files/id,files/name", {"files": [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]}),
        ("files/*", {"files": _PAGE["files"]}),
        ("files,kind", _PAGE),
        ("kind,files(id),files", _PAGE),
        ("nextPageToken", {}),
    ],
)
def test_mask_keeps_only_named_fields(mask: str, found: dict[str, Any]) -> None:
    assert apply(parse(mask, _LIST), _PAGE) == found


@pytest.mark.parametrize(
    "mask",
    ["x", "files(x)", "files/x", "files(id", "files(id))", "kind/x", ",", "kind,", "files()", "kind kind", "", "a/b"],
)
def test_invalid_mask_is_refused(mask: str) -> None:
    with pytest.raises(DriveError) as refusal:
        parse(mask, _LIST)
    assert (refusal.value.status, refusal.value.reason) == (400, "invalidParameter")


def test_too_deep_mask_is_refused() -> None:
    with pytest.raises(DriveError):
        parse("properties/" * 5000 + "x", FILE)


@given(st.text(alphabet="abfilesdnmk,/()* ", max_size=60))
def test_random_mask_raises_only_drive_errors(mask: str) -> None:
    with suppress(DriveError):
        apply(parse(mask, _LIST), _PAGE)


@pytest.mark.parametrize("method", DEFAULTS)
def test_default_mask_is_valid(method: str) -> None:
    parse(DEFAULTS[method], ANSWERS[method])
