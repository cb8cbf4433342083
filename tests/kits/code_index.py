"""An index of source code: its functions, calls and classes, and the expressions that lead to a name.

It parses the source and does not run it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

#: The fields of a node that has bound names.
_TARGETS = ("target", "targets", "optional_vars")


class CodeIndex:
    """The modules of a package.

    Attributes:
        bases: the base classes of each class; an import under another name counts as a class.
    """

    def __init__(self, root: Path) -> None:
        self.trees = {path.relative_to(root): ast.parse(path.read_text("utf-8")) for path in sorted(root.rglob("*.py"))}
        self.parents: dict[ast.AST, ast.AST] = {}
        self.functions: dict[str, list[ast.FunctionDef | ast.AsyncFunctionDef]] = {}
        #: By name of the called function, with the top-level package of the call.
        self.calls: dict[str, list[tuple[str, ast.Call]]] = {}
        self.bases: dict[str, set[str]] = {}
        self._found_binders: dict[ast.AST, list[ast.AST]] = {}
        for path, tree in self.trees.items():
            for node in ast.walk(tree):
                self.parents |= dict.fromkeys(ast.iter_child_nodes(node), node)
                match node:
                    case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                        self.functions.setdefault(name, []).append(node)
                    case ast.Call(func=func, args=args, keywords=keywords):
                        call = ast.Call(args[0], args[1:], keywords) if last_name(func) == "partial" and args else node
                        self.calls.setdefault(last_name(call.func), []).append((path.parts[0], call))
                    case ast.ClassDef(name=name, bases=bases):
                        self.bases[name] = set(map(last_name, bases))
                    case ast.alias(name=name, asname=str(other)):
                        self.bases[other] = {name}

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        while parent := self.parents.get(node):
            yield (node := parent)

    def _functions_around(self, node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        return (parent for parent in self.around(node) if isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef))

    def parameters(self, node: ast.AST) -> dict[str, list[ast.expr]]:
        """Return the parameters of the functions around a node, with their annotations."""
        found = [one for function in self._functions_around(node) for one in _arguments(function)]
        return {one.arg: [one.annotation] if one.annotation else [] for one in found}

    def assigned(self, node: ast.AST, name: str) -> list[ast.AST]:
        """Return the expressions that the functions around a node assign to a name."""
        inside = (inner for function in self._functions_around(node) for inner in self._binders(function))
        return [value for inner in inside for value in _bound(inner, name)]

    def _binders(self, function: ast.AST) -> list[ast.AST]:
        """Return the parts of a function that may bind a name. A walk for each name would take most of the time."""
        if function not in self._found_binders:
            found = [inner for inner in ast.walk(function) if any(hasattr(inner, field) for field in _TARGETS)]
            self._found_binders[function] = found
        return self._found_binders[function]

    def passed(self, node: ast.AST, name: str, path: Path) -> list[ast.AST]:
        """Return the default and the arguments of all calls for a parameter of a function around a node."""
        found: list[ast.AST] = []
        for function in self._functions_around(node):
            parameters = [one.arg for one in _arguments(function) if one.arg not in {"self", "cls"}]
            if name not in parameters:
                continue
            late = zip(reversed(function.args.args), reversed(function.args.defaults), strict=False)
            by_name = zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
            found += [value for one, value in (*late, *by_name) if one.arg == name and value]
            # Packages reuse the names of functions.
            shared = len(self.functions[function.name]) == 1
            place = parameters.index(name)
            for package, call in self.calls.get(function.name, ()):
                if shared or package == path.parts[0]:
                    keywords = [one.value for one in call.keywords if one.arg in {name, None}]
                    stars = [one for one in call.args if isinstance(one, ast.Starred)]
                    fits = len(call.args) <= len(parameters)
                    found += keywords or stars or (call.args[place : place + 1] if fits else [])
        return found

    def constant(self, node: ast.AST, name: str) -> list[ast.AST]:
        """Return the expressions that the module assigns to a name; of a dict, its values."""
        *_, module = self.around(node)
        found = [value for inner in ast.iter_child_nodes(module) for value in _bound(inner, name)]
        return [one for value in found for one in (value.values if isinstance(value, ast.Dict) else [value])]


def _bound(node: ast.AST, name: str) -> list[ast.AST]:
    """Return the values that a statement binds to a name; of a loop, its iterable; of ``+=``, the statement itself."""
    match node:
        case ast.AnnAssign(value=None):
            return []
        case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
            return [value for target, value in zip(targets, values, strict=False) if ast.unparse(target) == name]
        case ast.Assign(targets=[ast.Name(id=bound)], value=value):
            return [value] if bound == name else []
        case (
            ast.AnnAssign(target=ast.Name(id=bound), value=value)
            | ast.NamedExpr(target=ast.Name(id=bound), value=value)
        ):
            return [value] if value and bound == name else []
    targets = [*getattr(node, "targets", []), getattr(node, "target", None), getattr(node, "optional_vars", None)]
    stored = [one for target in targets if target for one in ast.walk(target) if isinstance(one, ast.Name)]
    binds = any(one.id == name and isinstance(one.ctx, ast.Store) for one in stored)
    return [getattr(node, "iter", getattr(node, "context_expr", node))] if binds else []


def _arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    return [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]


def last_name(node: ast.AST) -> str:
    """Return the part of an expression after its last dot."""
    return ast.unparse(node).rpartition(".")[2]


def names(node: ast.AST) -> set[str]:
    """Return the names and attributes in an expression."""
    return {getattr(one, "id", getattr(one, "attr", "")) for one in ast.walk(node)}
