"""Reads a page of the documentation into its code blocks, each with its rule."""

import re
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from dockit.faults import DocumentError
from dockit.rules import Rule, StageLine, parse_rule, parse_stage, read_comment

#: The languages of blocks that are executed, and of those with the output of the block before them.
_EXECUTED, _OUTPUT = ("sh", "python"), ("text", "json")
#: The table of contents, a directive of Sphinx.
_CONTENTS = "{toctree}"


class Kind(Enum):
    """The use of a block."""

    SHELL = auto()
    CELL = auto()
    OUTPUT = auto()
    FILE = auto()
    SKIPPED = auto()


@dataclass(frozen=True)
class Block:
    """One code block in one terminal.

    Attributes:
        place: the page and the line of the fence.
        told: the text for readers between the block and the one before it.
        terminal: the name of the terminal; empty for the first one of the page.
    """

    place: str
    kind: Kind
    text: str
    rule: Rule
    told: str
    terminal: str = ""


@dataclass(frozen=True)
class Page:
    """A page with its machines and its blocks, in the order of the page."""

    path: Path
    stage: StageLine
    blocks: tuple[Block, ...]


def read_page(path: Path) -> Page:
    """Return the blocks of a page.

    Raises:
        DocumentError: a rule is unknown or has no block, or a block has no language or no use.
    """
    stage, blocks = None, list[Block]()
    # The rule in the comment just above, with the line after it.
    waiting: tuple[int, str] | None = None
    told = ""
    for token in MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8")):
        if not token.map:
            continue
        first, end = token.map
        place = f"{path.name}:{first + 1}"
        if token.type == "html_block" and (found := read_comment(token.content, "stage")) is not None:
            if stage or blocks:
                raise DocumentError(f"{place}: the stage belongs above the first block, and only once")
            try:
                stage = parse_stage(found)
            except ValueError as error:
                raise DocumentError(f"{place}: {error}") from None
        elif token.type == "html_block" and (found := read_comment(token.content, "block")) is not None:
            waiting = _unused(waiting, place) or (end, found)
        elif token.type in {"html_block", "inline"} and re.search(r"<!--\s*(block|stage)\b", token.content):
            raise DocumentError(f"{place}: a rule needs a line of its own, directly above its block")
        elif token.type == "html_block" and re.search(
            r"<pre\b|<code\b|^\s*(```|~~~)", _visible(token.content), re.M | re.I
        ):
            raise DocumentError(
                f"{place}: code in HTML is not executed; an empty line must be before and after its fences"
            )
        elif token.type in {"fence", "code_block"}:
            above = waiting[1] if waiting and waiting[0] == first else None
            if above is None:
                _unused(waiting, place)
            waiting = None
            if token.info.strip() != _CONTENTS:
                block = _block(place, token, above, told)
                blocks += [replace(block, terminal=name) for name in block.rule.terminals or [""]]
            told = ""
        elif token.type == "inline":
            told += _visible(token.content)
    _unused(waiting, path.name)
    return Page(path, stage or StageLine(), tuple(blocks))


def _unused(waiting: tuple[int, str] | None, place: str) -> None:
    if waiting:
        raise DocumentError(f"{place}: no block is directly below the rule {waiting[1]!r}, which is above this line")


def _visible(html: str) -> str:
    return re.sub(r"<!--.*?-->", "", html, flags=re.S)


def _block(place: str, token: Token, above: str | None, told: str) -> Block:
    try:
        rule = Rule() if above is None else parse_rule(above)
    except ValueError as error:
        raise DocumentError(f"{place}: {error}") from None
    language = token.info.strip()
    if not language:
        raise DocumentError(f"{place}: the block has no language")
    if rule.reason:
        kind = Kind.SKIPPED
    elif rule.file:
        kind = Kind.FILE
    elif language in _EXECUTED:
        kind = Kind.SHELL if language == "sh" else Kind.CELL
    elif language in _OUTPUT and rule == Rule(terminals=rule.terminals):
        kind = Kind.OUTPUT
        if not token.content.replace("…", "").strip():
            raise DocumentError(f"{place}: every output has these lines")
    else:
        raise DocumentError(f"{place}: a block in {language} needs a rule, such as `file` or `not executed`")
    return Block(place, kind, token.content, rule, told)
