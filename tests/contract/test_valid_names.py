"""Names that a transport accepts, checked with random texts."""

from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.emulators.syftbox.sync_names import is_ignored
from syft_flwr.errors import TransportError
from syft_flwr.names import is_valid_name, validate_name

DO = "do@y.org"

SEGMENTS = st.one_of(
    st.text("abcXYZ019@!#$%&'+=^_`{}~-.", min_size=1, max_size=12),
    st.sampled_from(["logs", "Icon", "syftignore", "__pycache__", "x.pyc", "stream.sock", "a.syft.tmp.b", "b.tmp-1"]),
)


@given(st.lists(SEGMENTS, min_size=1, max_size=4))
def test_valid_name_is_synced_by_syftbox(segments: list[str]) -> None:
    name = "/".join([DO, *segments])

    if is_valid_name(name):
        assert validate_name(name) == name
        assert not is_ignored(name)
        assert ".." not in segments


@given(st.text(max_size=40))
def test_any_text_is_a_valid_name_or_a_transport_error(text: str) -> None:
    try:
        assert validate_name(text) == text
    except TransportError:
        assert not is_valid_name(text)
