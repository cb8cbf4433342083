"""Each page tells its readers, without its comments, the file of a block and a change of the terminal."""

from pathlib import Path

import pytest
from dockit.page import read_page
from dockit.pages import names, page_of
from dockit.told import untold

_STAGE = "<!-- stage: syftbox, participants ds@research.org do1@hospital-a.org -->\n\n"
_FILE = "<!-- block: file my-app/a.py -->\n```python\na = 1\n```\n"
_SHELL = "```sh\nls\n```\n\n"


@pytest.mark.parametrize("name", names())
def test_a_page_tells_each_file_and_each_terminal(name: str) -> None:
    assert untold(page_of(name)) == []


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        (f"Save this as `my-app/a.py`:\n\n{_FILE}", True),
        (f"1. Save this as `my-app/a.py`:\n\n{_FILE}", True),
        (f"Save this:\n\n{_FILE}Its name is `my-app/a.py`.\n", False),
        (f"Save this as `a.py`:\n\n{_FILE}", False),
        (f"Save this as `my-app/a.pyi/b`:\n\n<!-- `my-app/a.py` -->\n\n{_FILE}", False),
        (f"```sh\ncat my-app/a.py\n```\n\n{_FILE}", False),
        (_FILE.replace("file", "append"), False),
    ],
)
def test_the_text_above_a_block_names_its_file(tmp_path: Path, text: str, is_told: bool) -> None:
    path = tmp_path / "page.md"
    path.write_text(text)
    assert (untold(read_page(path)) == []) is is_told


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        (f"{_SHELL}At the hospital:\n\n<!-- block: on do1 -->\n{_SHELL}", True),
        (f"{_SHELL}<!-- block: on ds -->\n{_SHELL}", True),
        (f"{_SHELL}<!-- block: on do1 -->\n{_SHELL}", False),
        (f"{_SHELL}<!-- block: on ds do1 -->\n{_SHELL}", False),
        (f"At the hospital:\n\n<!-- block: on do1 -->\n{_SHELL}```text\na\n```\n\n{_SHELL}", False),
    ],
)
def test_a_text_tells_a_change_of_the_terminal(tmp_path: Path, text: str, is_told: bool) -> None:
    path = tmp_path / "page.md"
    path.write_text(_STAGE + text)
    assert (untold(read_page(path)) == []) is is_told
