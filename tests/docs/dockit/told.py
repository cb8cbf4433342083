"""Checks that the text of a page tells each file of a block and each change of the terminal."""

import re

from dockit.page import Kind, Page


def untold(page: Page) -> list[str]:
    """Return the faults of a page: a file without its name above its block, and a change of the terminal without a text.

    The text must be between the block and the block before it.
    """
    faults: list[str] = []
    first = next(iter(page.stage.emails), "")
    terminals: tuple[str, ...] = (first,)
    # A block for several terminals is told once.
    for block in {block.place: block for block in page.blocks}.values():
        file, here = block.rule.file, block.rule.terminals or (first,)
        if file and not re.search(rf"(?<![\w./-]){re.escape(file)}(?![\w/-])", block.told):
            faults.append(f"{block.place}: the text above the block does not name {file}")
        if block.kind in {Kind.SHELL, Kind.CELL, Kind.FILE}:
            if here != terminals and not block.told.strip():
                faults.append(f"{block.place}: no text tells that the block is for {' '.join(here)}")
            terminals = here
    return faults
