"""Shows the rule of a code block as its caption: the file that gets the block, and the terminal in which it runs.

The rule is a comment above the block, for the tests of the documents (``tests/README.md``, Executed blocks).
"""

from dockit.rules import Rule, StageLine, parse_rule, parse_stage, read_comment
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

_OUTPUTS = ("text", "json")


def _add_captions(_app: Sphinx, tree: nodes.document) -> None:
    stage = StageLine()
    rules: dict[nodes.literal_block, Rule] = {}
    for comment in tree.findall(nodes.raw):
        if (found := read_comment(comment.astext(), "stage")) is not None:
            stage = parse_stage(found)
        elif (found := read_comment(comment.astext(), "block")) is not None and isinstance(
            block := comment.next_node(descend=False, siblings=True), nodes.literal_block
        ):
            rules[block] = parse_rule(found)
    used = {name for rule in rules.values() for name in rule.terminals}
    if any(
        block.get("language") in {"sh", "python"} for block in tree.findall(nodes.literal_block) if block not in rules
    ):
        # A block without a rule runs in the first terminal.
        used |= set(list(stage.emails)[:1])
    for block, rule in rules.items():
        if caption := _caption(block, rule, stage.emails if len(used) > 1 else {}):
            tree.note_implicit_target(_wrap(block, caption))


def _caption(block: nodes.literal_block, rule: Rule, emails: dict[str, str]) -> list[nodes.Node]:
    parts: list[nodes.Node] = []
    if rule.file:
        parts = [nodes.Text("added to ")] if rule.appends else []
        parts.append(nodes.literal(rule.file, rule.file))
    elif block.get("language") in _OUTPUTS:
        return []
    if places := [emails[name] for name in rule.terminals if name in emails]:
        *others, last = places
        listed = f"{', '.join(others)} and {last}" if others else last
        parts.append(nodes.Text(f"{', ' if parts else ''}at {listed}"))
    return parts


def _wrap(block: nodes.literal_block, parts: list[nodes.Node]) -> nodes.container:
    # As Sphinx does for the option ``:caption:`` of a code block.
    wrapper = nodes.container("", literal_block=True, classes=["literal-block-wrapper"])
    caption = nodes.caption("", "", *parts)
    caption.source, caption.line = wrapper.source, wrapper.line = block.source, block.line
    block.replace_self(wrapper)
    wrapper += [caption, block]
    return wrapper


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("doctree-read", _add_captions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
