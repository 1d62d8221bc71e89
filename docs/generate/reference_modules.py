"""What the source says of itself: public names, signatures and docstrings, read without importing anything."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, field
from pathlib import Path

WIDTH = 80
"""A signature that is longer has one argument a line."""

SHOWN_KEYWORDS = ("frozen",)
"""Of a class: what a reader notices; how strictly a struct is decoded is told in the room of pages."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Entry:
    """A public function, class, method, property or documented constant.

    Attributes:
        code: its signature, or the class with its fields.  doc: its docstring, tidied.
        types: names in its annotations, to be linked where they are known.
        members: of a class.
    """

    name: str
    kind: str
    code: str
    doc: str
    types: tuple[str, ...] = ()
    members: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Module:
    """A module: its name, docstring, public entries, what it imports (name -> module) and ``__all__``."""

    name: str
    doc: str
    entries: tuple[Entry, ...]
    imported: dict[str, str] = field(default_factory=dict)
    exported: tuple[str, ...] = ()
    is_package: bool = False

    def entry(self, name: str) -> Entry | None:
        """The entry of that name, if there is one."""
        return next((one for one in self.entries if one.name == name), None)


def read_modules(source: Path, package: str = "wholepage") -> dict[str, Module]:
    """Every public module below ``source / package``, by its dotted name, in the order of the names."""
    found: dict[str, Module] = {}
    for path in sorted((source / package).rglob("*.py")):
        parts = list(path.relative_to(source).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        parts = parts[:-1] if is_package else parts
        if any(part.startswith("_") for part in parts):
            continue
        name = ".".join(parts)
        found[name] = read_module(name, path.read_text(encoding="utf-8"), is_package=is_package)
    return dict(sorted(found.items()))


def read_module(name: str, text: str, *, is_package: bool = False) -> Module:
    """One module from its source."""
    tree = ast.parse(text)
    entries: list[Entry] = []
    for index, node in enumerate(tree.body):
        after = tree.body[index + 1] if index + 1 < len(tree.body) else None
        entry = _entry(node, after)
        if entry and all(entry.name != other.name for other in entries):
            entries.append(entry)
    return Module(name, ast.get_docstring(tree) or "", tuple(entries), _imports(tree), _exports(tree), is_package)


def _entry(node: ast.stmt, after: ast.stmt | None) -> Entry | None:
    if isinstance(node, Function):
        return _function(node, "function") if _is_public(node) and ast.get_docstring(node) else None
    if isinstance(node, ast.ClassDef):
        return None if node.name.startswith("_") else _class(node)
    name = _assigned(node)
    if name and not name.startswith("_") and (said := _string(after)):
        return Entry(name, "constant", ast.unparse(node), inspect.cleandoc(said))
    return None


def _is_public(node: Function) -> bool:
    marks = {mark.attr if isinstance(mark, ast.Attribute) else getattr(mark, "id", "") for mark in node.decorator_list}
    return not node.name.startswith("_") and not marks & {"overload", "setter", "deleter"}


def _function(node: Function, kind: str) -> Entry:
    decorators = {ast.unparse(mark) for mark in node.decorator_list}
    if decorators & {"property", "cached_property", "functools.cached_property"}:
        kind = "property"
    marks = "".join(f"@{mark}\n" for mark in ("classmethod", "staticmethod", "property") if mark in decorators)
    return Entry(node.name, kind, marks + _signature(node), ast.get_docstring(node) or "", _names_in(node))


def _signature(node: Function) -> str:
    start = f"{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}def {node.name}("
    end = f") -> {ast.unparse(node.returns)}" if node.returns else ")"
    whole = start + ast.unparse(node.args) + end
    if len(whole) <= WIDTH:
        return whole
    return start + "\n" + "".join(f"    {one},\n" for one in _arguments(node.args)) + end


def _arguments(given: ast.arguments) -> list[str]:
    """Each argument as it is written, the marks ``/`` and ``*`` among them."""
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    told = [_argument(one, default) for one, default in zip(plain, defaults, strict=True)]
    if given.posonlyargs:
        told.insert(len(given.posonlyargs), "/")
    if given.vararg:
        told.append(f"*{ast.unparse(given.vararg)}")
    elif given.kwonlyargs:
        told.append("*")
    told += [_argument(one, default) for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    return told + ([f"**{ast.unparse(given.kwarg)}"] if given.kwarg else [])


def _argument(one: ast.arg, default: ast.expr | None) -> str:
    if default is None:
        return ast.unparse(one)
    equals = " = " if one.annotation else "="
    return f"{ast.unparse(one)}{equals}{ast.unparse(default)}"


def _class(node: ast.ClassDef) -> Entry:
    kept = [one for one in node.keywords if one.arg in SHOWN_KEYWORDS]
    inside = [ast.unparse(one) for one in (*node.bases, *kept)]
    head = "".join(f"@{ast.unparse(mark)}\n" for mark in node.decorator_list)
    head += f"class {node.name}" + (f"({', '.join(inside)})" if inside else "")
    lines, members, types = [], [], list(_names_in(*node.bases))
    for one in node.body:
        name = _assigned(one)
        if name and not name.startswith("_"):
            lines.append(ast.unparse(one))
            types += _names_in(one)
        elif isinstance(one, Function) and one.name == "__init__":
            lines.append(_signature(one))
            types += _names_in(one)
        elif isinstance(one, Function) and _is_public(one):
            members.append(_function(one, "method"))
    code = head + (":\n" + "\n".join(_indented(line) for line in lines) if lines else "")
    known = tuple(dict.fromkeys(types))
    return Entry(node.name, "class", code, ast.get_docstring(node) or "", known, tuple(members))


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _assigned(node: ast.stmt) -> str:
    """The one name that a statement gives a value or a type; else nothing."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def _string(node: ast.stmt | None) -> str:
    value = node.value if isinstance(node, ast.Expr) else None
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def _names_in(*nodes: ast.AST) -> tuple[str, ...]:
    """Names in annotations (of a function, its arguments' and its result's), each once."""
    found: dict[str, None] = {}
    for node in nodes:
        looked: list[ast.AST] = [node]
        if isinstance(node, Function):
            looked = [one.annotation for one in ast.walk(node.args) if isinstance(one, ast.arg) and one.annotation]
            looked += [node.returns] if node.returns else []
        elif isinstance(node, ast.AnnAssign):
            looked = [node.annotation]
        found |= {one.id: None for part in looked for one in ast.walk(part) if isinstance(one, ast.Name)}
    return tuple(found)


def _imports(tree: ast.Module) -> dict[str, str]:
    """Names brought in from our own modules, and where from."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("wholepage"):
            found |= {one.asname or one.name: str(node.module) for one in node.names if one.asname in (None, one.name)}
    return found


def _exports(tree: ast.Module) -> tuple[str, ...]:
    for node in tree.body:
        if _assigned(node) == "__all__" and isinstance(node, ast.Assign):
            return tuple(ast.literal_eval(node.value))
    return ()
