"""Names, sizes and refusals: what may not stand in the source, whoever writes it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "wholepage"
MODULES = sorted(PACKAGE.rglob("*.py"))
BANNED_NAMES = {"utils", "helpers", "common", "base", "manager"}
BANNED_NAMES |= {"util", "helper", "managers"}
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
BROAD = {"Exception", "BaseException"}
MAX_LINES = 400


def complaints(source: str) -> list[str]:
    """Everything the house refuses in a module, as ``line: what``."""
    tree = ast.parse(source)
    found = [(node.lineno, what) for node in ast.walk(tree) for what in _refused(node)]
    lines = source.count("\n")
    if lines > MAX_LINES:
        found.append((lines, f"{lines} lines; allowed: {MAX_LINES}; make two modules of it"))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            public = not node.name.startswith("_") and not _is_overload(node)
            if public and not (ast.get_docstring(node) or "").strip():
                found.append((node.lineno, f"{node.name} has no docstring"))
    return [f"{line}: {what}" for line, what in sorted(found)]


def _refused(node: ast.AST) -> list[str]:
    match node:
        case ast.Assert():
            return ["assert as validation; raise an error of wholepage.pages.errors"]
        case ast.ExceptHandler(type=None):
            return ["bare except"]
        case ast.ExceptHandler(type=caught):
            names = {n.id for n in ast.walk(caught) if isinstance(n, ast.Name)}
            return [f"except {name}; name what can go wrong" for name in sorted(names & BROAD)]
        case ast.Import(names=names):
            return [f"import {a.name}" for a in names if a.name.split(".")[0] in PICKLES]
        case ast.ImportFrom(module=str(module), level=0):
            return [f"from {module} import" for _ in [0] if module.split(".")[0] in PICKLES]
        case ast.Call():
            return _refused_call(node)
        case ast.Raise(exc=ast.Name(id="NotImplementedError") | ast.Call(func=ast.Name(id="NotImplementedError"))):
            return ["NotImplementedError; finish it or leave it out"]
    return []


def _refused_call(node: ast.Call) -> list[str]:
    found = []
    given = {k.arg: not (isinstance(k.value, ast.Constant) and k.value.value is False) for k in node.keywords}
    for word in ("trust_remote_code", "allow_pickle"):
        if given.get(word):
            found.append(f"{word} that is not the constant False")
    match node.func:
        case ast.Attribute(value=ast.Name(id="torch"), attr="load"):
            weights_only = next((k.value for k in node.keywords if k.arg == "weights_only"), None)
            if not (isinstance(weights_only, ast.Constant) and weights_only.value is True):
                found.append("torch.load without weights_only=True")
    return found


def _is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    marks = (d.attr if isinstance(d, ast.Attribute) else getattr(d, "id", "") for d in node.decorator_list)
    return "overload" in marks


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) >= 10


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_keeps_the_house_rules(path: Path) -> None:
    found = [f"{path.relative_to(ROOT)}:{complaint}" for complaint in complaints(path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ("assert x", "assert"),
        ("try:\n    f()\nexcept:\n    raise", "bare except"),
        ("try:\n    f()\nexcept Exception:\n    pass", "except Exception"),
        ("try:\n    f()\nexcept (OSError, BaseException) as e:\n    pass", "except BaseException"),
        ("import pickle", "import pickle"),
        ("def _f():\n    from joblib.memory import x", "from joblib.memory"),
        ("load('x', trust_remote_code=True)", "trust_remote_code"),
        ("load('x', trust_remote_code=trust)", "trust_remote_code"),
        ("np.load('x', allow_pickle=True)", "allow_pickle"),
        ("import torch\ntorch.load('x')", "weights_only"),
        ("def public():\n    return 1", "public has no docstring"),
        ("class Public:\n    ''", "Public has no docstring"),
        ("def _f():\n    raise NotImplementedError('later')", "NotImplementedError"),
        ("\n" * (MAX_LINES + 1), "make two modules"),
    ],
)
def test_each_refusal_is_noticed(bad: str, named: str) -> None:
    found = complaints(bad)
    assert len(found) == 1
    assert named in found[0]


@pytest.mark.parametrize(
    "good",
    [
        "try:\n    f()\nexcept (OSError, ValueError) as error:\n    raise E from error",
        "load('x', trust_remote_code=False)",
        "torch.load('x', weights_only=True)",
        "def _private():\n    return 1",
        "def public():\n    'Says what it means.'",
        "\n" * MAX_LINES,
    ],
)
def test_good_source_passes(good: str) -> None:
    assert complaints(good) == []


def test_no_empty_names() -> None:
    places = [*MODULES, *(p for p in PACKAGE.rglob("*") if p.is_dir())]
    bad = [str(p.relative_to(ROOT)) for p in places if p.stem.strip("_") in BANNED_NAMES]
    assert not bad, f"names that say nothing: {bad}"


def test_rooms_say_what_they_are() -> None:
    for room in ("pages", "collections", "rankers", "annotation", "evaluation", "training", "apps"):
        face = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
        assert ast.get_docstring(face), f"{room} does not say what it is"
