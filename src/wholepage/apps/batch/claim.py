"""Whose an output folder is: one job's, by its manifest; and one run's at a time, by a lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from wholepage.apps.batch.places import Place
from wholepage.apps.batch.plan import FORMAT_VERSION, Manifest, Settings
from wholepage.apps.folder_lock import alone_at
from wholepage.pages.errors import InputError

MANIFEST = "_manifest.json"


class _Version(msgspec.Struct):
    format_version: int


@contextmanager
def held(out: Place) -> Iterator[None]:
    """Keep other runs out of a folder on a disk of this machine for the length of the block.

    The lock is the system's and ends with the process, however that ends; it leaves no file. An object store has no
    such lock, nor do some network disks: two runs there write the same bytes, and waste half the work.

    Raises:
        InputError: another run is at work in the folder, or it cannot be made.
    """
    if not out.local:
        yield
        return
    try:
        Path(out.path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{out.shown}: got {error.strerror}; allowed: a folder that can be made and written to; name another"
        ) from error
    refusal = (
        f"{out.shown}: got a folder in which another run is at work; allowed: one at a time; wait for it, or name "
        "another folder"
    )
    with alone_at(Path(out.path), refusal):
        yield


def claim(out: Place, manifest: Manifest) -> None:
    """Write the manifest, or see that the one there is the same.

    Raises:
        InputError: the folder holds another job, or files of something else.
    """
    kept = out.child(MANIFEST)
    content = manifest.encoded()
    if kept.stamp() is not None:
        before = kept.read_bytes()
        if before != content:
            raise InputError(
                f"{out.shown}: got the output of another job ({_difference(before, manifest)}); allowed: the same job, "
                "which goes on where it stopped; name another folder, or delete this one"
            )
        return
    if others := [place.name for place in out.listed() if not place.name.startswith(".")]:
        raise InputError(
            f"{out.shown}: got a folder that holds {others[0]!r} and no {MANIFEST}; allowed: a new or empty folder, or "
            "one that a job of this kind began; name another"
        )
    kept.write_bytes(content)


def _difference(before: bytes, manifest: Manifest) -> str:
    try:
        version = msgspec.json.decode(before, type=_Version).format_version
        if version != FORMAT_VERSION:
            return f"its manifest is of format {version}, this wholepage writes {FORMAT_VERSION}"
        other = msgspec.json.decode(before, type=Manifest)
    except (msgspec.MsgspecError, InputError):
        return "its manifest cannot be read"
    if other.settings != manifest.settings:
        named = [
            f"{name} {getattr(other.settings, name)!r}, now {getattr(manifest.settings, name)!r}"
            for name in Settings.__struct_fields__
            if getattr(other.settings, name) != getattr(manifest.settings, name)
        ]
        return ", ".join(named)
    if other.fingerprint != manifest.fingerprint:
        return "the model has changed"
    for old, new in zip(other.sources, manifest.sources, strict=False):
        if old != new:
            named_anew = msgspec.structs.replace(old, file=new.file) == new
            return f"input {old.file}, now {new.file}" if named_anew else f"the input has changed, first in {new.file}"
    if len(other.sources) != len(manifest.sources):
        return f"the input has changed: {len(other.sources)} files, now {len(manifest.sources)}"
    return f"by wholepage {other.version}" if other.version != manifest.version else "cut into other shards"
