"""At most ten code blocks of all pages are not executed, each with its reason."""

from pathlib import Path

import pytest
from dockit.faults import DocumentError
from dockit.page import read_page
from dockit.pages import AT_MOST, check_number, names, page_of, unexecuted


def test_at_most_ten_blocks_are_not_executed() -> None:
    check_number([page_of(name) for name in names()])


def test_an_eleventh_block_is_too_many(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("<!-- block: not executed: It needs a moon. -->\n```sh\nfly\n```\n\n" * AT_MOST)
    check_number([read_page(path)])
    assert {block.rule.reason for block in unexecuted([read_page(path)])} == {"It needs a moon."}
    with path.open("a") as file:
        file.write("<!-- block: not executed: It needs a sun. -->\n```sh\nfly\n```\n")
    with pytest.raises(DocumentError, match="It needs a sun"):
        check_number([read_page(path)])
