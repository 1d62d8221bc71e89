"""Model folders: a manifest, tensors in safetensors, nothing that runs code when read.

folder/manifest.json        kind, format version, config, checksums
folder/arrays.safetensors   the tensors, when there are any
folder/<file>               other files (a LightGBM model as text)
folder/<child>/...          models inside the model, each a model folder itself
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, WeightsError, require

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
ARRAYS = "arrays.safetensors"
_SAMPLES_PER_TENSOR = 64


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a model folder: the hex sha256 of its content, and how many bytes."""

    sha256: str
    bytes: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model folder says of itself.

    Attributes:
        kind: which class wrote it.  format_version: of this layout.  config: plain JSON values.
        files: by name.  tensors: name to shape.  children: folder name to the sha256 of the child's manifest.
    """

    kind: str
    format_version: int
    config: dict[str, Any]
    files: dict[str, FileEntry]
    tensors: dict[str, tuple[int, ...]]
    children: dict[str, str] = {}


def save_model(
    folder: Path,
    kind: str,
    config: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    files: Mapping[str, bytes | Path] | None = None,
    children: Mapping[str, Callable[[Path], None]] | None = None,
) -> None:
    """Write a model folder so that it is either the whole new one or the whole old one.

    It is written beside its place, flushed to disk, and moved in when complete. An existing model folder is replaced;
    any other folder that is not empty is left alone.

    Args:
        folder: where the model goes.  kind: which class it is.  config: JSON values, all finite.
        arrays: the tensors.  files: further files by name: their content, or where to copy it from.
        children: what writes the models inside, by folder name (``{"rankers/image": ranker.save}``).
    Raises:
        WeightsError: the folder holds something else, or a tensor holds numbers that are not finite.
        InputError: the config is not plain JSON, or a name leaves the folder.
    """
    folder = Path(folder)
    _check_replaceable(folder)
    for name, array in arrays.items():
        _check_finite(folder, name, array)
    contents: dict[str, bytes | Path] = {_safe(name): data for name, data in (files or {}).items()}
    if arrays:
        numpy_format = require("safetensors.numpy", "train")
        contents[ARRAYS] = numpy_format.save({name: np.asarray(array, order="C") for name, array in arrays.items()})
    try:
        settings = json.loads(json.dumps(dict(config), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"config of a {kind!r} model: got {error}; allowed: JSON values with finite numbers; convert it"
        ) from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".new", dir=folder.parent))
    try:
        entries = {name: _place(staging / name, data) for name, data in contents.items()}
        made = {_safe(name): _save_child(staging / name, save) for name, save in (children or {}).items()}
        shapes = {name: tuple(array.shape) for name, array in arrays.items()}
        manifest = Manifest(kind, FORMAT_VERSION, settings, entries, shapes, made)
        _write(staging / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
        _flush_folder(staging)
        staging.chmod(0o755)  # mkdtemp makes it private
        _move_in(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def load_model(
    folder: Path, kind: str, *, expected: Iterable[str] | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read a model folder back, every byte checked.

    Args:
        folder: a folder made by ``save_model``.  kind: the kind it must be.
        expected: the names its tensors must have; None = whatever the manifest lists.
    Returns:
        The config and the tensors. Other files come from ``load_file``; children load themselves.
    Raises:
        WeightsError: no manifest, another kind, a newer format, a changed or missing file, tensors missing or too
            many, or numbers that are not finite.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest.kind != kind:
        raise WeightsError(
            f"{folder}: got a model of kind {manifest.kind!r}; allowed: {kind!r}; load it with the class that wrote it"
        )
    for name, digest in manifest.children.items():
        _checked(folder, f"{name}/{MANIFEST}", digest)
    arrays: dict[str, NDArray[Any]] = {}
    for name, entry in manifest.files.items():
        if name == ARRAYS:
            arrays = _decode(folder, load_file(folder, name, manifest=manifest))
        else:
            _check_digest(folder, name, entry.sha256, _digest_of(folder, name))
    _check_names(folder, arrays, manifest.tensors)
    if expected is not None:
        _check_names(folder, arrays, expected)
    for name, array in arrays.items():
        if array.shape != manifest.tensors[name]:
            raise WeightsError(
                f"{folder}: tensor {name!r}: got shape {array.shape}; allowed: {manifest.tensors[name]}; save it again"
            )
        _check_finite(folder, name, array)
    return manifest.config, arrays


def load_file(folder: Path, name: str, *, manifest: Manifest | None = None) -> bytes:
    """One further file of a model folder, checked.

    Raises:
        WeightsError: the manifest does not list it, or its content changed.
    """
    manifest = manifest or read_manifest(folder)
    if name not in manifest.files:
        raise WeightsError(f"{folder}: got no file {name!r}; allowed: {sorted(manifest.files)}; save the model again")
    return _checked(Path(folder), name, manifest.files[name].sha256)


def read_manifest(folder: Path) -> Manifest:
    """What a model folder says of itself; files are not read.

    Raises:
        WeightsError: there is none, it cannot be read, or a newer version wrote it.
    """
    path = Path(folder) / MANIFEST
    try:
        raw = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise WeightsError(
            f"{folder}: got no readable {MANIFEST} ({error.strerror}); allowed: a folder made by save; check the path"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"{path}: got {error}; allowed: the JSON that save wrote; save the model again") from error
    version = raw.get("format_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise WeightsError(
            f"{path}: got format version {version}; allowed: up to {FORMAT_VERSION}; upgrade wholepage to read it"
        )
    try:
        return msgspec.convert(raw, Manifest)
    except msgspec.ValidationError as error:
        raise WeightsError(f"{path}: got {error}; allowed: the fields that save wrote; save it again") from error


def pretrained_source(model: str | Path) -> str:
    """The folder or hub id that a pretrained model is loaded from.

    A ``Path``, and a string that starts with ``/``, ``.`` or ``~``, must be a folder here; others may be hub ids.

    Raises:
        WeightsError: a folder was named that does not exist.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return str(path)
    if isinstance(model, Path) or model.startswith(("/", ".", "~")):
        raise WeightsError(f"model {str(model)!r}: got no such folder; allowed: a folder or a hub id; check the path")
    return model


def unloadable(model: str | Path, error: Exception) -> WeightsError:
    """The error for a pretrained model that a library could not load, with what the library said."""
    return WeightsError(
        f"model {str(model)!r}: cannot be loaded ({' '.join(str(error).split())[:300]}); "
        "allowed: a folder with a model, or a hub id that is reachable or already downloaded; "
        "check the name, or download it where there is a network"
    )


def fingerprint(state: Mapping[str, Any]) -> str:
    """Twelve hex digits that change when any tensor of a torch ``state_dict`` was trained further.

    Up to 64 numbers of each tensor are hashed, so that it costs nothing beside loading.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        flat = state[name].detach().reshape(-1)
        step = max(1, flat.numel() // _SAMPLES_PER_TENSOR)
        sample = flat[::step][: _SAMPLES_PER_TENSOR + 1].double().cpu().numpy()
        digest.update(f"{name}{tuple(state[name].shape)}".encode() + sample.tobytes())
    return digest.hexdigest()[:12]


def _safe(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or path.name in (MANIFEST, ARRAYS):
        raise InputError(
            f"model file {name!r}: allowed: a relative name inside the folder, not {MANIFEST} or {ARRAYS}; rename it"
        )
    return str(path)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _save_child(folder: Path, save: Callable[[Path], None]) -> str:
    save(folder)
    read_manifest(folder)  # a child that is no model folder is refused now, not when somebody loads it
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not (folder / MANIFEST).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise WeightsError(
            f"{folder}: got something that is not a model folder; allowed: a new name, an empty folder, or a model "
            "folder to replace; name another one"
        )


def _move_in(staging: Path, folder: Path) -> None:
    old: Path | None = None
    if folder.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent))
        os.rename(folder, old / folder.name)
    os.rename(staging, folder)
    _flush_folder(folder.parent)
    if old is not None:
        shutil.rmtree(old)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _place(path: Path, data: bytes | Path) -> FileEntry:
    """Write a file of the folder, from memory or from another file."""
    if isinstance(data, bytes):
        _write(path, data)
        return FileEntry(hashlib.sha256(data).hexdigest(), len(data))
    path.parent.mkdir(parents=True, exist_ok=True)
    with data.open("rb") as source, path.open("w+b") as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return FileEntry(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


def _checked(folder: Path, name: str, digest: str) -> bytes:
    try:
        data = _inside(folder, name).read_bytes()
    except OSError as error:
        raise _unreadable(folder, name, error) from error
    _check_digest(folder, name, digest, hashlib.sha256(data).hexdigest())
    return data


def _digest_of(folder: Path, name: str) -> str:
    """The sha256 of a file, which may be larger than memory."""
    try:
        with _inside(folder, name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(folder, name, error) from error


def _inside(folder: Path, name: str) -> Path:
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts:
        raise WeightsError(
            f"{folder}: manifest names {name!r}; allowed: files inside the folder; do not trust this model"
        )
    return folder / name


def _unreadable(folder: Path, name: str, error: OSError) -> WeightsError:
    return WeightsError(
        f"{folder}: file {name!r}: got {error.strerror}; allowed: every file the manifest lists; copy it whole"
    )


def _check_digest(folder: Path, name: str, digest: str, found: str) -> None:
    if found != digest:
        raise WeightsError(
            f"{folder}: file {name!r}: got sha256 {found[:12]}; allowed: {digest[:12]}; the file changed, copy it again"
        )


def _decode(folder: Path, data: bytes) -> dict[str, NDArray[Any]]:
    numpy_format = require("safetensors.numpy", "train")
    try:
        loaded: dict[str, NDArray[Any]] = numpy_format.load(data)
    except require("safetensors", "train").SafetensorError as error:
        raise WeightsError(f"{folder}: {ARRAYS}: got {error}; allowed: safetensors; save the model again") from error
    return loaded


def _check_names(folder: Path, arrays: Mapping[str, NDArray[Any]], wanted: Iterable[str]) -> None:
    names = set(wanted)
    missing, extra = sorted(names - set(arrays)), sorted(set(arrays) - names)
    if missing or extra:
        raise WeightsError(
            f"{folder}: tensors: missing {missing[:5]}, not expected {extra[:5]}; allowed: {len(names)} tensors; "
            "load it with the version and class that wrote it"
        )


def _check_finite(folder: Path, name: str, array: NDArray[Any]) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise WeightsError(
            f"{folder}: tensor {name!r}: got {int(np.sum(~np.isfinite(array)))} numbers that are not finite; "
            "allowed: finite weights; the training diverged, use an earlier checkpoint"
        )
