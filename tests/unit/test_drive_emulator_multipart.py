"""Multipart bodies: each part is read back byte for byte."""

import io
from contextlib import suppress
from email.generator import BytesGenerator
from email.mime.multipart import MIMEMultipart
from email.mime.nonmultipart import MIMENonMultipart

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.emulators.gdrive.drive_errors import DriveError
from syft_flwr.emulators.gdrive.multipart import boundary_of, split

_BOUNDARIES = st.text(alphabet="abcXYZ019'()+_,-./:=?", min_size=1, max_size=60)
_ENDS = st.sampled_from([b"\n", b"\r\n"])
_CONTENTS = st.one_of(
    st.binary(max_size=80),
    st.text(alphabet="\r\n-=Frombd: \0", max_size=40).map(str.encode),
)


@given(st.lists(_CONTENTS, min_size=1, max_size=4), _BOUNDARIES, _ENDS)
def test_split_returns_each_part_unchanged(contents: list[bytes], boundary: str, end: bytes) -> None:
    mark = b"--" + boundary.encode()
    if any(mark in content for content in contents):
        return
    body = b"".join(mark + end + b"Content-Type: x/y" + end + end + content + end for content in contents)
    parts = split(body + mark + b"--", boundary)
    # The line end before a mark belongs to the mark. A final carriage return of the content can be lost with it.
    expected = [content[:-1] if end == b"\n" and content.endswith(b"\r") else content for content in contents]
    assert [part.body for part in parts] == expected
    assert all(part.headers == {"content-type": "x/y"} for part in parts)


@given(st.binary(max_size=200))
def test_body_of_google_client_is_read(content: bytes) -> None:
    message = MIMEMultipart("related")
    message._write_headers = lambda self: None  # type: ignore[method-assign]
    for kind, payload in ((("application", "json"), b"{}"), (("application", "octet-stream"), content)):
        part = MIMENonMultipart(*kind)
        part["Content-Transfer-Encoding"] = "binary"
        part.set_payload(payload.decode("ascii", "surrogateescape"))
        message.attach(part)
    written = io.BytesIO()
    BytesGenerator(written, mangle_from_=False).flatten(message, unixfrom=False)
    boundary = message.get_boundary() or ""
    parts = split(written.getvalue(), boundary_of(f'multipart/related; boundary="{boundary}"'))
    # This generator normalises line ends, so the Google client does not use it for the content.
    if not set(b"\r\n") & set(content):
        assert [part.body for part in parts] == [b"{}", content]


@given(st.binary(max_size=100), _BOUNDARIES)
def test_random_body_raises_only_drive_errors(body: bytes, boundary: str) -> None:
    with suppress(DriveError):
        split(body, boundary)


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        (b"--b\n\nx\n--b--", [b"x"]),
        (b"--b\r\n\r\nx\r\n--b--\r\n", [b"x"]),
        (b"--b\r\n\r\n\r\n--b--", [b""]),
        (b"--b\n--b--", [b""]),
        (b"--b \nA: b\n\nx\n--b-- \n", [b"x"]),
        (b"before\n--b\n\nx\n--b--\nafter", [b"x"]),
        (b"--b\n\nx--b\n--b--", [b"x--b"]),
        (b"--b\n\n--bb\n--b--", [b"--bb"]),
        (b"--b\n\n\n\n--b--", [b"\n"]),
        (b"--b--", []),
    ],
)
def test_body_is_split_at_its_boundary(body: bytes, parts: list[bytes]) -> None:
    assert [part.body for part in split(body, "b")] == parts


@pytest.mark.parametrize("body", [b"", b"x", b"--b\n\nx", b"--b\n\nx\n--b", b"--c\n\nx\n--c--"])
def test_body_without_an_end_is_refused(body: bytes) -> None:
    with pytest.raises(DriveError):
        split(body, "b")


def test_headers_are_unfolded_and_lower_case() -> None:
    (part,) = split(b"--b\nContent-TYPE: a;\n b=c\nnonsense\n\nx\n--b--", "b")
    assert part.headers == {"content-type": "a; b=c"}


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ('multipart/related; boundary="==x=="', "==x=="),
        ("multipart/mixed;boundary=x; y=z", "x"),
        (r'multipart/mixed; Boundary="a\"b"', 'a"b'),
    ],
)
def test_boundary_is_read_from_content_type(content_type: str, boundary: str) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize("content_type", ["", "text/plain", "multipart/mixed; boundary=", "x; boundary=" + "x" * 71])
def test_content_type_needs_a_boundary(content_type: str) -> None:
    with pytest.raises(DriveError):
        boundary_of(content_type)
