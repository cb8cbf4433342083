"""Every code block of the quickstart and of the how-to pages runs, with the output that the page shows."""

import pytest
from dockit.execution import execute
from dockit.pages import names, page_of


@pytest.mark.e2e
@pytest.mark.timeout(500)
@pytest.mark.parametrize("name", names())
def test_every_block_of_the_page_runs(name: str) -> None:
    execute(page_of(name))
