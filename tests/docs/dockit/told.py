"""Checks that the text of a page, without its comments, tells each file of a block and each change of the terminal."""

import re
from pathlib import Path

from markdown_it import MarkdownIt

from dockit.rules import Rule, parse_rule, read_comment


def untold(path: Path) -> list[str]:
    """Return the faults of a page: a file without its name above its block, and a change of the terminal without a text.

    The text must be between the block and the block before it.
    """
    faults: list[str] = []
    # The visible text since the latest block.
    text = ""
    rule, terminals, first = Rule(), ("",), ""
    for token in MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8")):
        if token.type == "html_block" and (stage := read_comment(token.content, "stage")) is not None:
            participants = re.search(r"\bparticipants ([^\s,@]+)@", stage)
            first = participants[1] if participants else ""
            terminals = (first,)
        elif token.type == "html_block" and (found := read_comment(token.content, "block")) is not None:
            rule = parse_rule(found)
        elif token.type == "inline":
            text += re.sub(r"<!--.*?-->", "", token.content, flags=re.S)
        elif token.type == "fence" and token.map:
            place = f"{path.name}:{token.map[0] + 1}"
            if rule.file and not re.search(rf"(?<![\w./-]){re.escape(rule.file)}(?![\w/-])", text):
                faults.append(f"{place}: the text above the block does not name {rule.file}")
            if not rule.reason and (rule.file or token.info.strip() not in {"text", "json"}):
                here = rule.terminals or (first,)
                if here != terminals and not text.strip():
                    faults.append(f"{place}: no text tells that the block is for {' '.join(here)}")
                terminals = here
            rule, text = Rule(), ""
    return faults
