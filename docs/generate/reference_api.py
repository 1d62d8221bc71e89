"""The reference of the Python names: a page for the package, one for each room, one for each module."""

from __future__ import annotations

from collections.abc import Mapping

from reference_docstrings import as_markdown, first_line, plain
from reference_modules import Entry, Module

ROOMS = ("pages", "collections", "rankers", "annotation", "evaluation", "training")
"""Every module of these is shown."""

APPS = (
    "wholepage.apps.adapters",
    "wholepage.apps.places",
    "wholepage.apps.reranking",
    "wholepage.apps.resolve",
    "wholepage.apps.serving.served_models",
    "wholepage.apps.serving.standing",
)
"""Of the top floor, what programs call; the rest is behind the command line."""

FOLDER = "reference/api"
Homes = Mapping[tuple[str, str], tuple[str, str]]


def api_pages(modules: Mapping[str, Module]) -> dict[str, str]:
    """Every page by its path below ``docs``."""
    shown = shown_modules(modules)
    homes = _homes(modules, shown)
    pages = {f"{FOLDER}/index.md": _front(modules), f"{FOLDER}/wholepage.md": _package(modules, homes)}
    for room in (*ROOMS, "apps"):
        pages[f"{FOLDER}/{room}/index.md"] = _room(modules, room, shown, homes)
    for name in shown:
        pages[path_of(name)] = _module(modules[name], homes)
    return pages


def api_nav(modules: Mapping[str, Module]) -> list[object]:
    """What stands in the navigation: rooms, and in each its modules."""
    rooms: list[object] = [f"{FOLDER}/index.md", {"wholepage": f"{FOLDER}/wholepage.md"}]
    shown = shown_modules(modules)
    for room in (*ROOMS, "apps"):
        inside = [{_short(name, room): path_of(name)} for name in shown if name.split(".")[1] == room]
        rooms.append({f"wholepage.{room}": [f"{FOLDER}/{room}/index.md", *inside]})
    return rooms


def shown_modules(modules: Mapping[str, Module]) -> list[str]:
    """The modules that have a page: those with something public in them, of the rooms and of ``APPS``."""
    return [
        name
        for name, module in modules.items()
        if name.count(".") >= 2
        and module.entries
        and (name.split(".")[1] in ROOMS or any(name == app or name.startswith(f"{app}.") for app in APPS))
    ]


def path_of(name: str) -> str:
    """Where a module's page lies below ``docs``."""
    _, room, rest = name.split(".", 2)
    return f"{FOLDER}/{room}/{rest}.md"


def _homes(modules: Mapping[str, Module], shown: list[str]) -> dict[tuple[str, str], tuple[str, str]]:
    """Where each name that a module can see is written about: ``(module, name) -> (page, anchor)``."""
    own = {(name, one.name): (path_of(name), one.name) for name in shown for one in modules[name].entries}
    found = dict(own)
    for name, module in modules.items():
        for word, origin in module.imported.items():
            at = _origin(modules, origin, word)
            if at in own:
                found[name, word] = own[at]
    return found


def _origin(modules: Mapping[str, Module], module: str, name: str) -> tuple[str, str]:
    """The module that a name comes from, through any faces that pass it on."""
    seen = set()
    while module in modules and module not in seen and name in modules[module].imported:
        seen.add(module)
        module = modules[module].imported[name]
    return module, name


def _front(modules: Mapping[str, Module]) -> str:
    rows = ["| room | what it is |", "|---|---|", f"| [`wholepage`](wholepage.md) | {_about(modules['wholepage'])} |"]
    rows += [
        f"| [`wholepage.{room}`]({room}/index.md) | {_about(modules[f'wholepage.{room}'])} |"
        for room in (*ROOMS, "apps")
    ]
    return (
        "# Python\n\nWritten from the source when this site is built: every public name, its signature and what "
        "it says of itself. `apps` shows what programs call; the rest of it is behind the "
        "[command line](../commands/index.md)."
        "\n\n" + "\n".join(rows) + "\n"
    )


def _package(modules: Mapping[str, Module], homes: Homes) -> str:
    face = modules["wholepage"]
    here = f"{FOLDER}/wholepage.md"
    parts = ["# wholepage", as_markdown(face.doc)]
    for name in face.exported:
        module, word = _origin(modules, "wholepage", name)
        entry = modules[module].entry(word) if module in modules else None
        if entry and (module, word) in homes:
            page, anchor = homes[module, word]
            parts.append(_entry(entry, module, homes, here))
            parts.append(f"From [`{module}`]({_from(here, page)}#{anchor}).")
        elif f"{module}.{name}" in modules:  # a module that the face hands on
            link = f"[`{module}.{name}`]({_from(here, path_of(f'{module}.{name}'))})"
            parts.append(f"## {name} {{ #{name} }}\n\nThe module {link}.")
        else:
            parts.append(f"## {plain(name)}\n\nThe version that is installed, a string.")
    return "\n\n".join(parts) + "\n"


def _room(modules: Mapping[str, Module], room: str, shown: list[str], homes: Homes) -> str:
    face = modules[f"wholepage.{room}"]
    here = f"{FOLDER}/{room}/index.md"
    parts = [f"# {face.name}", as_markdown(face.doc)]
    names = [name for name in face.exported if (face.name, name) in homes]
    if names:
        links = [f"[`{name}`]({_from(here, homes[face.name, name][0])}#{homes[face.name, name][1]})" for name in names]
        parts.append(f"From `{face.name}` itself: {' · '.join(links)}")
    rows = ["| module | what it is |", "|---|---|"]
    rows += [
        f"| [`{_short(name, room)}`]({_from(here, path_of(name))}) | {_about(modules[name])} |"
        for name in shown
        if name.split(".")[1] == room
    ]
    return "\n\n".join([*parts, "\n".join(rows)]) + "\n"


def _module(module: Module, homes: Homes) -> str:
    parts = [f"# {module.name}", as_markdown(module.doc)]
    parts += [_entry(one, module.name, homes, path_of(module.name)) for one in module.entries]
    return "\n\n".join(parts) + "\n"


def _entry(entry: Entry, module: str, homes: Homes, here: str) -> str:
    parts = [f"## {entry.name} {{ #{entry.name} data-toc-label='{entry.name}' }}", *_told(entry, module, homes, here)]
    for one in entry.members:
        parts.append(f"### {entry.name}.{one.name} {{ #{entry.name}.{one.name} data-toc-label='{one.name}' }}")
        parts += _told(one, module, homes, here, entry.name)
    return "\n\n".join(parts)


def _told(entry: Entry, module: str, homes: Homes, here: str, owner: str = "") -> list[str]:
    parts = [f"```python\n{entry.code}\n```"]
    known = [
        (name, homes[module, name])
        for name in entry.types
        if (module, name) in homes and name not in (entry.name, owner)
    ]
    if known:
        links = [f"[`{name}`]({_from(here, page)}#{anchor})" for name, (page, anchor) in known]
        parts.append(f"Types: {' · '.join(links)}")
    return [*parts, as_markdown(entry.doc)] if entry.doc else parts


def _about(module: Module) -> str:
    return first_line(module.doc)


def _short(name: str, room: str) -> str:
    return name.removeprefix(f"wholepage.{room}.")


def _from(here: str, there: str) -> str:
    """The relative link from one page to another."""
    mine, its = here.split("/")[:-1], there.split("/")
    same = 0
    while same < min(len(mine), len(its) - 1) and mine[same] == its[same]:
        same += 1
    return "/".join([".."] * (len(mine) - same) + its[same:])
