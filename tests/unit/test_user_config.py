"""The parser of user configurations, compared with that of Flower."""

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tomlkit
from flwr.common.config import parse_config_args
from hypothesis import assume, event, given, reject, settings
from hypothesis import strategies as st

from syft_flwr.config.user_config import parse_user_config
from syft_flwr.errors import ConfigError
from syft_flwr.text import is_visible

_KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,8}(\.[A-Za-z0-9_-]{1,8}){0,2}", fullmatch=True)
_QUOTED = st.text(st.characters(codec="utf-8"), max_size=20).flatmap(
    lambda text: st.sampled_from([f"'{text}'", json.dumps(text, ensure_ascii=False)])
)
_NUMBERS = st.one_of(st.integers(), st.floats(), st.booleans()).map(lambda value: str(value).lower())
_PAIRS = st.tuples(_KEYS, _QUOTED | _NUMBERS | st.text("0123456789_.+-einfxbo'\"[]{}=,aT:", max_size=9)).map("=".join)


def nothing_is_left_over(text: str) -> bool:
    """Return whether the pairs that Flower finds are the whole text, apart from spaces between them."""
    end, gaps = 0, []
    for pair in re.finditer(r"""(\S+?)=('[^']*'|"[^"]*"|\S+)""", text):
        gaps.append(text[end : pair.start()])
        end = pair.end()
    return not text[end:].strip() and not "".join(gaps).strip() and all(gaps[1:])


@settings(max_examples=200, deadline=None)
@given(st.lists(_PAIRS, max_size=4).map(" ".join))
def test_parser_agrees_with_that_of_flower(text: str) -> None:
    assume(nothing_is_left_over(text))
    try:
        theirs = parse_config_args([text])
    except Exception:  # noqa: BLE001 - each of them is a refusal
        reject()
    try:
        ours = parse_user_config([text], "the test")
    except ConfigError as error:
        reason = str(error)
        event("refused")
    else:
        # As text, because nan differs from itself.
        assert repr(sorted(ours.items())) == repr(sorted(theirs.items()))
        return
    # What Flower takes, and this package refuses: too large a number, and a comment that drops a part of the text.
    assert "beyond 64 bits" in reason or "#" in text


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(is_visible),
        st.one_of(
            st.booleans(),
            st.integers(-(2**63), 2**63 - 1),
            st.floats(),
            st.text(st.characters(codec="utf-8"), max_size=50),
        ),
        max_size=20,
    )
)
def test_the_file_for_a_seat_has_the_same_values(config: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.toml")
        path.write_bytes((tomlkit.dumps(config) or "\n").encode())
        assert repr(parse_user_config([str(path)], "the test")) == repr(config)
