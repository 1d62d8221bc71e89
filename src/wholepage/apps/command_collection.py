"""``wholepage collection``: which collections there are, whose they are, how to get them, and how they look."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from wholepage.collections.about import Facts
    from wholepage.pages.protocols import Collection

collection = typer.Typer(
    name="collection",
    help="Collections: list, licence and citation, fetching, a look inside.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

_Name = Annotated[str, typer.Argument(help="The collection; wholepage collection list names them.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout in place of tables.")]
_Root = Annotated[
    Path | None, typer.Option("--root", metavar="FOLDER", help="Where its data lies; default WHOLEPAGE_DATA.")
]
_Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="An option of the collection; again for more."),
]
_Split = Annotated[str | None, typer.Option("--split", help="Which part; default the first.")]
_Count = Annotated[int, typer.Option("-n", "--pages", min=1, help="How many pages.")]


@collection.callback()
def _collection() -> None:
    pass


@collection.command("list")
def list_(json_: _Json = False) -> None:
    """Every collection this package reads, with its terms.

    Example: wholepage collection list
    """
    from wholepage.apps.console import note, print_json, print_table
    from wholepage.collections import NAMES
    from wholepage.collections.about import MEANING, facts_of

    facts = [facts_of(name) for name in NAMES]
    if json_:
        print_json([_plain(one) for one in facts])
        return
    rows = [(one.name, one.terms.value, one.title) for one in facts]
    print_table("collections", ("name", "terms", "what"), rows, words=("terms", "what"))
    for terms, meaning in MEANING.items():
        note(f"{terms.value}: {meaning}")


@collection.command("info")
def info(
    name: _Name,
    root: _Root = None,
    option: _Options = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the checksums of the files that get fetches.")
    ] = False,
    json_: _Json = False,
) -> None:
    """Licence, citation, options, and what of it is here.

    Example: wholepage collection info qilin
    """
    from wholepage.apps.console import print_json
    from wholepage.collections import options_of
    from wholepage.collections.about import MEANING

    facts = _facts(name)
    splits, absent, place = _here(name, root, option)
    files = [(one.path, _state(facts, one.path, place, check)) for one in facts.files]
    if json_:
        here = {"options": options_of(name), "splits": splits, "absent": absent, "state": dict(files)}
        print_json({**_plain(facts), **here})
        return
    typer.echo(f"{name}: {facts.title}")
    for what, told in (
        *_whose(facts),
        ("homepage", facts.homepage or "-"),
        ("terms", f"{facts.terms.value}: {MEANING[facts.terms]}"),
        ("by hand", facts.by_hand or "-"),
        ("options", ", ".join(options_of(name)) or "-"),
        ("splits", ", ".join(splits) if absent is None else f"not here: {absent}"),
        *((f"file {path}", state) for path, state in files),
    ):
        typer.echo(f"{what}: {told}")


@collection.command("get")
def get(
    name: _Name,
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Where to put the files.")],
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help='Files of your own: JSON, [{"path", "url", "sha256", "size_bytes"?}].'),
    ] = None,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="You have read the terms and may use the data.")
    ] = False,
    json_: _Json = False,
) -> None:
    """Fetch what the licence lets a program fetch; each file is checked, and gone on with if it broke off.

    Example: wholepage collection get libsvm --to data/libsvm
    """
    from wholepage.apps.console import note, print_json, print_table, progress
    from wholepage.collections.fetching import fetch, read_manifest

    facts = _facts(name)
    _may_fetch(facts, accept_licence)
    files = facts.files if manifest is None else read_manifest(manifest)
    if not files:
        _nothing_to_fetch(facts)
    _note_whose(facts)
    done = []
    with progress() as report:
        for one in files:
            new = fetch(one, to, progress=report)
            done.append((one.path, "fetched" if new else "there already", one.sha256))
    if json_:
        print_json({**_plain(facts), "to": str(to), "got": [dict(zip(_GOT, row, strict=True)) for row in done]})
        return
    print_table(f"{name}: files in {to}", _GOT, done, words=_GOT)
    if facts.by_hand:
        note(facts.by_hand)


_GOT = ("path", "state", "sha256")


@collection.command("sample")
def sample(
    name: _Name,
    pages: _Count = 3,
    split: _Split = None,
    root: _Root = None,
    option: _Options = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Write them instead: pages.jsonl, judgments.jsonl, about.json."),
    ] = None,
    json_: _Json = False,
) -> None:
    """The first pages of a collection as this package reads them, and their grades.

    With --out they are files that `wholepage rank` and `wholepage evaluate` read; about.json holds the licence
    and whom to cite.

    Example: wholepage collection sample synthetic -n 3 --out sample
    """
    from wholepage.apps.collection_samples import grades_of, judged, show_sample, write_sample
    from wholepage.apps.console import print_json
    from wholepage.pages.errors import InputError

    facts, opened = _facts(name), _opened(name, root, option)
    splits = _splits(opened)
    part = split if split is not None else (splits[0] if splits else None)
    if part is None:
        raise InputError(f"collection {name!r}: got no splits; allowed: data with at least one; fetch it")
    if part not in splits:
        raise InputError(f"collection {name!r}: got split {part!r}; allowed: {', '.join(splits)}; choose one of them")
    shown = islice(judged(opened, part), pages)
    told = {**_plain(facts), "split": part}
    if out is not None:
        written = write_sample(out, told, shown)
        if json_:
            print_json({**told, "out": str(out), "written": written})
        else:
            typer.echo(f"{name}, {part}: {written['pages']} pages, {written['judgments']} judgments in {out}")
    elif json_:
        print_json({**told, "pages": [{**_plain(page), "grades": grades_of(page, said)} for page, said in shown]})
    else:
        show_sample(shown)
    if not json_:
        _note_whose(facts)


def _facts(name: str) -> Facts:
    from wholepage.apps.places import NotFound
    from wholepage.collections import NAMES
    from wholepage.collections.about import facts_of

    if name not in NAMES:
        raise NotFound(f"collection: got {name!r}; allowed: {', '.join(NAMES)}; choose one of them")
    return facts_of(name)


def _whose(facts: Facts) -> list[tuple[str, str]]:
    return [("licence", facts.licence), ("cite", facts.cite), ("source", facts.source)]


def _note_whose(facts: Facts) -> None:
    from wholepage.apps.console import note

    for what, said in _whose(facts):
        note(f"{what}: {said}")


def _may_fetch(facts: Facts, accepted: bool) -> None:
    """Refuse to fetch what the licence does not let a program fetch."""
    from wholepage.collections.about import MEANING, Terms
    from wholepage.pages.errors import InputError

    if facts.terms is Terms.ASK or facts.terms is Terms.NONE:
        raise InputError(
            f"collection {facts.name!r}: got get; allowed: nothing, {MEANING[facts.terms]}; see {facts.homepage or '-'}"
        )
    if facts.terms is Terms.ACCEPT and not accepted:
        raise InputError(
            f"collection {facts.name!r}: got no --accept-licence; allowed: only with it, {facts.licence}; read the "
            f"terms at {facts.homepage} first"
        )


def _nothing_to_fetch(facts: Facts) -> None:
    from wholepage.pages.errors import InputError

    raise InputError(
        f"collection {facts.name!r}: got no file with a known checksum; allowed: --manifest with files of your own; "
        f"or by hand: {facts.by_hand or facts.homepage}"
    )


def _here(name: str, root: Path | None, option: list[str] | None) -> tuple[tuple[str, ...], str | None, Path | None]:
    """The splits that are here or why there are none, and the folder where they were looked for."""
    from wholepage.collections.catalogue import needed_by
    from wholepage.pages.errors import InputError, MissingExtra

    asked = root is not None or option is not None
    if not asked and (needed := needed_by(name)):
        return (), f"name one: {' '.join(f'--option {one}=...' for one in needed)}", None
    try:
        opened = _opened(name, root, option)
        place = getattr(opened, "root", None)
        return _splits(opened), None, place if isinstance(place, Path) else root
    except MissingExtra as error:
        return (), str(error), root
    except InputError as error:
        if asked:
            raise
        return (), str(error), root


def _state(facts: Facts, path: str, place: Path | None, checked: bool) -> str:
    """Whether a file is in the folder, and with ``checked`` whether it is what it should be."""
    from wholepage.collections.fetching import check, placed
    from wholepage.pages.errors import RecordError

    file = next(one for one in facts.files if one.path == path)
    if place is None:
        return "to be fetched"
    found = placed(file, place)
    packed = not found.is_file() and found.with_name(f"{found.name}.gz").is_file()
    if not packed and not found.is_file():
        return "not here"
    if not checked:
        return "packed here" if packed else "here"
    try:
        check(file, place)
    except RecordError as error:
        return f"differs: {error}"
    return f"{'packed ' * packed}here, checksum right"


def _opened(name: str, root: Path | None, option: list[str] | None) -> Collection:
    from wholepage.apps.places import open_collection

    return open_collection(name, root, **_options(option))


def _options(given: list[str] | None) -> dict[str, Any]:
    """``name=value`` as keyword arguments; a value is JSON where it can be read so, else a text."""
    from wholepage.pages.errors import InputError

    options: dict[str, Any] = {}
    for one in given or ():
        name, sign, value = one.partition("=")
        if not sign or not name.isidentifier():
            raise InputError(f"--option: got {one!r}; allowed: NAME=VALUE; write it so")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options


def _splits(opened: Collection) -> tuple[str, ...]:
    told = getattr(opened, "splits", None)
    return tuple(told()) if callable(told) else ("train", "dev")


def _plain(record: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(record)
