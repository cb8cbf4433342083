"""A reader of source code that lists the text of every error and travelling reason, with ``…`` in place of values.

It parses the source and does not run it. A text that cannot be traced to literals raises :class:`UnreadableTextError`,
so no text is missed.
"""

import ast
import builtins
import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product
from pathlib import Path

from code_index import CodeIndex, last_name, names

from syft_flwr import errors

#: Not an error of the public tree, but its text becomes that of one.
_INNER = {"RetryableError"}
#: Calls that make or store a reason, with the position of its text.
_REASONS = {"failure": 1, "Failure": 1, "Ended": 1, "add_note": 0}
_TEXT_KEYWORDS = {"message", "note", "reason", "text", "why"}
#: Texts that are read where they are made, and the traceback that a data owner may share.
_READ_ELSEWHERE = {"error.told", "failure.text", "failure.why", "row.reason", "traceback_of(error)"}
_VALUE = "…"


class UnreadableTextError(Exception):
    """An expression that cannot be traced to literals."""


def symptom(text: str) -> str:
    """Return a text without the file, setting or call at its start and a value at its end, as a person looks it up."""
    text = re.sub(rf"^(?:(?:Google Drive|{_VALUE}(?: is ignored)?): )+(?=.*\w)", "", text)
    return re.sub(rf"(?<=\w|\)){_VALUE}$", "", text)


@dataclass(frozen=True)
class Text:
    """One text of an error: its place in the source, its class, its template, and whether a hint goes with it."""

    place: str
    kind: str
    template: str
    has_hint: bool

    @property
    def symptom(self) -> str:
        return symptom(self.template)

    @property
    def has_words(self) -> bool:
        return bool(re.search(r"\w", self.template.replace("Google Drive: ", "")))


class Source(CodeIndex):
    """The errors and reasons that the modules of a package make.

    Attributes:
        kinds: the names of all error classes.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.kinds = {name for name, kind in vars(errors).items() if isinstance(kind, type)} | _INNER
        while more := {name for name in self.bases.keys() - self.kinds if self.bases[name] & self.kinds}:
            self.kinds |= more

    def family(self, kind: str) -> set[str]:
        """Return the name of a class with the names of all its base classes in the source."""
        return {kind}.union(*(self.family(base) for base in self.bases.get(kind, ())))

    def texts(self) -> Iterator[Text]:
        """Yield every text of an error, of a row in a table of errors, and of a reason that travels.

        Raises:
            UnreadableTextError: a text cannot be traced to literals.
        """
        for path, tree in self.trees.items():
            for node in ast.walk(tree):
                for kind, expression, has_hint in self._made(node):
                    for template in filter(None, self._read(expression, path)):
                        place = f"{path}:{expression.lineno}"
                        yield Text(place, kind, re.sub(rf"{_VALUE}+", _VALUE, template), has_hint)

    def _made(self, node: ast.AST) -> Iterator[tuple[str, ast.expr, bool]]:
        """Yield class, text and presence of a hint of each error or reason that this node makes."""
        match node:
            case ast.Call(func=func, args=args, keywords=keywords):
                kind, name = self._kind(node), last_name(func)
                by_name = [keyword.value for keyword in keywords if keyword.arg in _TEXT_KEYWORDS]
                # Without a text, the call itself is read, which fails.
                text = [*by_name, *args[_REASONS.get(name, int(_is_self(args))) :], node][0]
                own = name == "__init__" and isinstance(text, ast.Name) and text.id in self.parameters(node)
                if kind and not own and not (name == "Ended" and text is node):
                    yield kind, text, any(keyword.arg == "hint" for keyword in keywords)
                for one, other in pairwise(args):
                    if last_name(one) in self.kinds and isinstance(other, ast.Constant | ast.JoinedStr | ast.BinOp):
                        yield last_name(one), other, True
                yield from _after_reason(args)
            case ast.Tuple(ctx=ast.Load(), elts=parts) | ast.List(ctx=ast.Load(), elts=parts):
                for place, (one, other) in enumerate(pairwise(parts), 2):
                    if last_name(one) in self.kinds and not _is_class(other):
                        yield last_name(one), other, len(parts) > place
                yield from _after_reason(parts)
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if key and last_name(key) in self.kinds and not _is_class(value):
                        yield last_name(key), value, True
            case ast.ClassDef(name=name) if name in self.kinds:
                # Such a text is made when it is shown, so it cannot be read.
                yield from ((name, one, True) for one in node.body if getattr(one, "name", "") == "__str__")

    def _kind(self, call: ast.Call) -> str:
        """Return the class of the error that a call makes, or an empty text."""
        name = last_name(call.func)
        owner = next((parent.name for parent in self.around(call) if isinstance(parent, ast.ClassDef)), "")
        if name in _REASONS:
            return "Reason"
        if ast.unparse(call.func) in {"cls", "type(self)", "self.__class__"} or name == "__init__":
            name = owner
        if name in self.kinds:
            return name
        raised = isinstance(self.parents.get(call), ast.Raise)
        known = name in self.functions or name in self.bases or _is_class(call.func)
        if isinstance(call.func, ast.Name):
            local = self.assigned(call, name) or self.parameters(call).get(name, [])
            found = local or self.constant(call, name)
            known = known and not local
        else:
            found = [] if isinstance(call.func, ast.Attribute) else [call.func]
        mentioned = {inner for one in found for inner in names(one)}
        mentioned |= {inner for known_as in mentioned for one in self.constant(call, known_as) for inner in names(one)}
        return "SyftFlwrError" if (raised and not known) or mentioned & self.kinds else ""

    def _read(self, node: ast.AST, path: Path, seen: frozenset[ast.AST] = frozenset()) -> list[str]:
        """Return the texts that an expression may become; those in ``seen`` are being read already."""
        match node:
            case _ if node in seen:
                return []
            case ast.Constant(value=str(text)):
                return [text]
            case ast.JoinedStr(values=values):
                return _joined(self._part(value, path, seen) for value in values)
            case ast.BinOp(left=left, op=ast.Add(), right=right) if ast.unparse(right) != "'…'":
                return _joined(self._read(side, path, seen) for side in (left, right))
            case ast.Attribute() | ast.Call() if self._is_read_elsewhere(node):
                return [""]
        leads_to = self._leads_to(node, path)
        if not leads_to:
            raise UnreadableTextError(f"{path}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)}")
        return [text for one in leads_to for text in self._read(one, path, seen | {node})]

    def _leads_to(self, node: ast.AST, path: Path) -> Sequence[ast.AST]:
        """Return the expressions that make the text of this expression."""
        match node:
            case ast.IfExp(body=one, orelse=other):
                return [one, other]
            case ast.BoolOp(values=values):
                return values
            case (
                ast.Subscript(value=value, slice=ast.Slice())
                | ast.BinOp(left=ast.Subscript(value=value, slice=ast.Slice()))
                | ast.Call(func=ast.Attribute(value=value, attr="encode" | "decode" | "strip"))
                | ast.Call(func=ast.Name(id="escaped" | "printable" | "shortened"), args=[value, *_])
            ):
                # The text is shortened or cleaned.
                return [value]
            case ast.Name(id=name):
                return [*self.assigned(node, name), *self.passed(node, name, path)] or self.constant(node, name)
            case ast.Call(func=ast.Attribute(value=ast.Name(id=table), attr="get"), args=[_, default]):
                return [*self.constant(node, table), default]
        called = self.functions.get(last_name(node.func), []) if isinstance(node, ast.Call) else []
        inside = ast.walk(called[0]) if len(called) == 1 else ()
        return [inner.value for inner in inside if isinstance(inner, ast.Return) and inner.value]

    def _part(self, node: ast.expr, path: Path, seen: frozenset[ast.AST]) -> list[str]:
        """Return the texts of a part of an f-string: ``…`` for a value, unless the function assigns it literals."""
        match node:
            case ast.Constant(value=text):
                return [str(text)]
            case ast.FormattedValue(value=ast.Name(id=name)):
                with contextlib.suppress(UnreadableTextError):
                    texts = [text for one in self.assigned(node, name) for text in self._read(one, path, seen)]
                    return list(filter(None, texts)) or [_VALUE]
        return [_VALUE]

    def _is_read_elsewhere(self, node: ast.AST) -> bool:
        """Return whether a text is read where it is made, such as that of ``str(error)`` for an error of this package."""
        match node:
            case ast.Call(func=ast.Name(id="str"), args=[ast.Name(id=name)]):
                kinds = self.parameters(node).get(name, [])
            case _:
                return ast.unparse(node) in _READ_ELSEWHERE
        for parent in self.around(node):
            match parent:
                case ast.ExceptHandler(name=caught, type=ast.expr() as kind) if caught == name:
                    kinds = getattr(kind, "elts", [kind])
                    break
                case ast.If(test=ast.Call(func=ast.Name(id="isinstance"), args=[ast.Name(id=tested), kind])):
                    if tested == name:
                        kinds = [kind]
                        break
        return bool(kinds) and {last_name(kind) for kind in kinds} <= self.kinds


@cache
def package() -> Source:
    """Return the source of this package."""
    return Source(Path(errors.__file__).parent)


@cache
def package_texts() -> tuple[Text, ...]:
    """Return all texts of this package."""
    return tuple(package().texts())


def _after_reason(parts: list[ast.expr]) -> Iterator[tuple[str, ast.expr, bool]]:
    for one, text in pairwise(parts):
        if ast.unparse(one).startswith("Reason.") and not isinstance(text, ast.Attribute | ast.Tuple):
            yield "Reason", text, True


def _joined(parts: Iterable[list[str]]) -> list[str]:
    return ["".join(chosen) for chosen in product(*parts)]


def _is_self(args: list[ast.expr]) -> bool:
    return bool(args) and ast.unparse(args[0]) == "self"


def _is_class(node: ast.expr) -> bool:
    """Return whether an expression is a class, as its name tells, and not a text."""
    return last_name(node) in vars(builtins) or bool(
        re.fullmatch(r"(\w+\.)*_?[A-Z]+[a-z]\w*(\.\w+)?", ast.unparse(node))
    )
