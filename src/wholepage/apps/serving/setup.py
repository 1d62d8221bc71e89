"""What somebody wrote on a command line or into a file, as what a server is set up with.

Where it is not clear who may use a server, it is not started: keys that were named and are not there, and an address
that other machines reach without any key, are errors.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from wholepage.apps.places import file_there
from wholepage.apps.resolve import OFFLINE
from wholepage.apps.serving.engine_settings import EngineSettings
from wholepage.apps.serving.fetch_settings import FetchSettings
from wholepage.apps.serving.keys import keys_from_environment, keys_from_file
from wholepage.apps.serving.limits import ServingSettings
from wholepage.apps.serving.served_models import ModelSpec, spec_of
from wholepage.pages.errors import InputError, RecordError, shorten

KEYS_VARIABLE = "WHOLEPAGE_KEYS"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")


class Setup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The settings of a server, a table of a TOML file each.

    Attributes:
        engine: how much runs at once.  requests: what one may ask for.  fetch: what may be fetched, where it may.
        leave_s: how long after a signal new connections are still taken.
    Raises:
        InputError: ``leave_s`` below 0.
    """

    engine: EngineSettings = EngineSettings()
    requests: ServingSettings = ServingSettings()
    fetch: FetchSettings = FetchSettings()
    leave_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.leave_s < float("inf"):
            raise InputError(f"leave_s: got {self.leave_s}; allowed: seconds, 0 or more; mend the setting")


def read_setup(path: Path | None, changes: Mapping[str, Mapping[str, Any]]) -> Setup:
    """Settings from a TOML file and from options given beside it, which go before what the file says.

    Args:
        path: None = defaults.
        changes: a table and its settings; None values leave a setting as it is.
    Raises:
        NotFound: there is no such file.
        RecordError: it is not TOML, or a setting is unknown or out of range; it is named.
    """
    tables: dict[str, Any] = {}
    if path is not None:
        try:
            tables = tomllib.loads(file_there(path, "settings").read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RecordError(path, 0, "file", str(error), "TOML in UTF-8", "mend the file") from error
    for table, settings in changes.items():
        written = tables.get(table, {})
        if isinstance(written, dict):  # what is no table is told below
            tables[table] = written | {name: value for name, value in settings.items() if value is not None}
    try:
        return msgspec.convert(tables, Setup)
    except msgspec.ValidationError as error:
        place = "options" if path is None else path
        raise RecordError(place, 0, "settings", str(error), "the settings of a server", "mend it") from error


def named_models(given: Sequence[str]) -> dict[str, ModelSpec]:
    """Models of a command line by the name that requests use; the first is the default.

    Args:
        given: each a model (``offline``, ``bm25``, a folder), or ``name=model``; a folder goes by its last part. Empty
            = the offline default.
    Raises:
        NotFound: neither a known name nor a folder.
        InputError: a name that cannot be, or is there twice; a folder that holds no model.
    """
    models: dict[str, ModelSpec] = {}
    for one in given or (OFFLINE,):
        name, sign, model = one.partition("=")
        if sign and not model:
            raise InputError(f"model: got {shorten(one)!r}; allowed: name=model; write a model behind the sign")
        spec = spec_of(model if sign else one)
        if not sign:
            name = Path(spec.source).name if spec.source else one
        if not _NAME.fullmatch(name):
            raise InputError(
                f"model: got {shorten(one)!r}, whose name would be {shorten(name)!r}; allowed: letters, digits, '.', "
                "'_', ':', '/' and '-'; write name=folder"
            )
        if name in models:
            raise InputError(f"model: got two by the name {name!r}; allowed: each once; write name=folder")
        models[name] = spec
    return models


def found_keys(path: Path | None, variable: str | None, environment: Mapping[str, str] = os.environ) -> list[bytes]:
    """The digests of all keys of a server; none = everybody may ask.

    Args:
        path: a file of keys.
        variable: an environment variable that holds keys; None = ``WHOLEPAGE_KEYS``, where it is set.
    Raises:
        FileNotFoundError: there is no such file.
        RecordError: a line of it is no key.
        InputError: the variable holds something else, or a place that was named holds no key at all.
    """
    digests = keys_from_environment(variable or KEYS_VARIABLE, environment)
    if variable is not None and not digests:
        raise InputError(
            f"keys: got {variable}, which holds none; allowed: a variable that holds keys; set it, or do not name it"
        )
    if path is not None:
        of_file = keys_from_file(path)
        if not of_file:
            raise InputError(f"keys: got {path} without a key in it; allowed: one a line; write one, or name no file")
        digests += [digest for digest in of_file if digest not in digests]
    return digests


def check_fit(
    setup: Setup, *, fetch: bool, hosts: Sequence[str], locked: bool, pages: str | None, judge_into: str | None
) -> None:
    """Refuse wishes that would have no effect: who writes them counts on one.

    Args:
        fetch: pictures are fetched.  hosts: from these alone.  locked: keys are asked for.
        pages: that people look at.  judge_into: the campaign that takes their grades.
    Raises:
        InputError: hosts without fetching, a rate without keys, or grades without pages.
    """
    if judge_into is not None and pages is None:
        raise InputError(
            f"--judge-into: got {judge_into!r} without --pages; allowed: both, or neither; name the campaign's pages"
        )
    if hosts and not fetch:
        raise InputError(
            f"--allow-host: got {hosts[0]!r} without --fetch-images; allowed: both, or neither; add --fetch-images"
        )
    if setup.requests.requests_per_s and not locked:
        raise InputError(
            f"--rate: got {setup.requests.requests_per_s:g} a second without keys; allowed: with keys, each of which "
            "has that rate; add --keys FILE, or drop the rate"
        )


def is_own(host: str) -> bool:
    """Whether an address to listen on is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # another name: who answers to it is not known here
        return False


def check_reach(host: str, *, locked: bool, opened: bool) -> None:
    """Refuse a server that other machines reach and that asks nobody for a key, if that was not said.

    Args:
        locked: nothing but keys lets somebody in.  opened: it was said that everybody may use it.
    Raises:
        InputError: it is one.
    """
    if not (is_own(host) or locked or opened):
        raise InputError(
            f"--host: got {host!r}, which other machines reach, where not everything asks for a key; allowed: keys "
            f"(--keys FILE, or {KEYS_VARIABLE}) and no --pages, this machine alone (127.0.0.1), or --open, which lets "
            "everybody in; choose one"
        )
