"""A job from its input to ``_SUCCESS``: planned, taken up where it stopped, checked, concluded.

The output folder holds ``_manifest.json``, one file of records a shard, ``_done/`` with one note a shard, ``_rejects/``
where rows were left out, and ``_SUCCESS`` when everything is there. A shard counts as done when its note is there and
the files that it speaks of have the digests that it tells; everything else is done again. Two jobs cannot share a
folder: the manifest says whose it is.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from wholepage.apps.batch.claim import claim, held
from wholepage.apps.batch.messages import Engine, Event, Finished, Lost, Through
from wholepage.apps.batch.models import fingerprint_of, placed
from wholepage.apps.batch.places import Place, absolute, place_of
from wholepage.apps.batch.plan import Manifest, Opened, Settings, planned
from wholepage.apps.batch.shards import DONE, REJECTS, Done, Order, done_of, output_of, peak_bytes, rejects_of
from wholepage.pages.errors import InputError, WeightsError

SUCCESS = "_SUCCESS"
_BLOCK_BYTES = 1 << 20
_SAYS_EVERY_S = 30.0

Report = Callable[[int, int, str], None]
Note = Callable[[str], None]


class Summary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What came of a job.

    Attributes:
        rows: of the input.  written, rejected, silent: as in ``Done``, of all shards.
        shards: how many.  by: the model's name.
        manifest_sha256: of the manifest.  output_sha256: of the digests of all shards in their order.
    """

    rows: int
    written: int
    rejected: int
    silent: int
    shards: int
    by: str
    manifest_sha256: str
    output_sha256: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What this run did of the job.

    Attributes:
        out: the folder, without keys.  summary: of the job.
        shards_done, rows_done: by this run; the others stood already.
        seconds: of the work, planning left out.  workers_lost: how many ended in the middle of a shard.
        peak_bytes: the most memory of each process, by its name; of this one under ``driver``.
    """

    out: str
    summary: Summary
    shards_done: int
    rows_done: int
    seconds: float
    workers_lost: int
    peak_bytes: dict[str, int]

    @property
    def pages_a_second(self) -> float:
        """Rows that this run got through a second; 0 when there was nothing to do."""
        return self.rows_done / self.seconds if self.rows_done else 0.0


def run_batch(
    inputs: Sequence[str], out: str, settings: Settings, engine: Engine, *, report: Report, note: Note
) -> Run:
    """Do a job, or what is left of it.

    Args:
        inputs: files, folders and patterns of ``.jsonl``, ``.jsonl.gz`` and ``.parquet``.  out: a folder.
        engine: who does the shards.  report: told of progress.  note: told of what a person should read.
    Raises:
        NotFound: an input or the model is not there.
        InputError: the folder holds another job or other files or another run is at work in it, every row was left
            out, or the input changed.
        RecordError: a row cannot be used, and the job stops at such.
        WeightsError: the model cannot be loaded, or shards that stood were made by another.
        WorkerLost: workers ended again and again.
    """
    manifest, opened = planned(inputs, settings, fingerprint_of(settings.model), report)
    place = place_of(out)
    with held(place):
        claim(place, manifest)
        done = _standing(place, manifest, note)
        left = [shard for shard in manifest.shards if shard.number not in done]
        success = place.child(SUCCESS)
        if left and success.stamp() is not None:
            success.remove()  # files of it are gone or changed
        meter = _Meter(manifest, done, report, note)
        began = time.monotonic()
        engine.run(_order(settings, opened, out), left, meter.told)
        seconds = time.monotonic() - began
        summary = _summary(manifest, meter.done)
        if summary.written == 0:
            raise InputError(
                f"batch: got no row of {summary.rows} that could be used; allowed: at least one; see "
                f"{place.shown}/{REJECTS}"
            )
        for folder in (place, place.child(DONE), place.child(REJECTS)):
            if place.local:
                folder.remove_drafts()
        success.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n")
    return Run(
        out=place.shown,
        summary=summary,
        shards_done=len(left),
        rows_done=sum(shard.rows for shard in left),
        seconds=seconds,
        workers_lost=meter.lost,
        peak_bytes={"driver": peak_bytes(), **meter.peaks},
    )


def _order(settings: Settings, opened: Sequence[Opened], out: str) -> Order:
    """What workers are told: nothing in it depends on the folder that they run in."""
    return Order(msgspec.structs.replace(settings, model=placed(settings.model)), tuple(opened), absolute(out))


def _standing(out: Place, manifest: Manifest, note: Note) -> dict[int, Done]:
    """The shards that are complete, by number."""
    done: dict[int, Done] = {}
    noted = {place.name for place in out.child(DONE).listed()}
    for shard in manifest.shards:
        kept = done_of(out, shard)
        if kept.name not in noted:
            continue
        try:
            said = msgspec.json.decode(kept.read_bytes(), type=Done)
        except msgspec.MsgspecError:
            said = None
        if said is not None and said.shard == shard and _as_told(out, manifest.settings, said):
            done[shard.number] = said
        else:
            note(f"{shard.name} is not as it was written; it is done again")
    return done


def _as_told(out: Place, settings: Settings, done: Done) -> bool:
    if _digest(output_of(out, settings, done.shard)) != (done.sha256, done.bytes):
        return False
    if done.written + done.rejected != done.shard.rows or bool(done.rejected) != bool(done.rejects_sha256):
        return False
    return not done.rejected or _digest(rejects_of(out, done.shard))[0] == done.rejects_sha256


def _digest(place: Place) -> tuple[str, int]:
    """The sha256 and size of a file; of one that is not there, nothing's."""
    if place.stamp() is None:
        return "", -1
    digest, size = hashlib.sha256(), 0
    with place.opened() as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return digest.hexdigest(), size


def _summary(manifest: Manifest, done: Mapping[int, Done]) -> Summary:
    """The sums of all shards.

    Raises:
        InputError: a shard is missing.
        WeightsError: shards were made by models of different names.
    """
    missing = [shard.name for shard in manifest.shards if shard.number not in done]
    if missing:
        raise InputError(f"batch: got no word of {missing[0]}; allowed: every shard done; run the command again")
    ordered = [done[shard.number] for shard in manifest.shards]
    names = list(dict.fromkeys(one.by for one in ordered))
    if len(names) > 1:
        raise WeightsError(
            f"batch: got shards by {names[0]!r} and by {names[1]!r}; allowed: one model on every machine; delete the "
            "folder, and run it with the same weights everywhere"
        )
    lines = (f"{one.shard.name} {one.sha256} {one.rejects_sha256}\n" for one in ordered)
    return Summary(
        rows=manifest.rows,
        written=sum(one.written for one in ordered),
        rejected=sum(one.rejected for one in ordered),
        silent=sum(one.silent for one in ordered),
        shards=len(ordered),
        by=names[0],
        manifest_sha256=hashlib.sha256(manifest.encoded()).hexdigest(),
        output_sha256=hashlib.sha256("".join(lines).encode()).hexdigest(),
    )


class _Meter:
    """How far the job is, and how fast it goes."""

    def __init__(self, manifest: Manifest, done: Mapping[int, Done], report: Report, note: Note) -> None:
        self.done: dict[int, Done] = dict(done)
        self.lost = 0
        self.peaks: dict[str, int] = {}
        self._total, self._report, self._note = manifest.rows, report, note
        self._stood = self._rows = sum(one.shard.rows for one in done.values())
        self._within: dict[int, int] = {}
        self._began = self._said = time.monotonic()
        if done:
            note(f"{len(done)} of {len(manifest.shards)} shards stand already")

    def told(self, event: Event) -> None:
        """Take in what an engine tells."""
        match event:
            case Through(number=number, rows=rows):
                self._within[number] = self._within.get(number, 0) + rows
            case Lost(number=number):
                self._within.pop(number, None)
                self.lost += 1
                self._note("a worker ended in the middle of a shard; the shard is done again")
            case Finished(done=done, worker=worker, peak_bytes=peak):
                self._within.pop(done.shard.number, None)
                self.done[done.shard.number] = done
                self._rows += done.shard.rows
                self.peaks[worker] = max(peak, self.peaks.get(worker, 0))
        through = self._rows + sum(self._within.values())
        now = time.monotonic()
        rate = (through - self._stood) / max(now - self._began, 1e-9)
        self._report(through, self._total, "pages")
        if now - self._said >= _SAYS_EVERY_S and rate > 0:
            self._said = now
            wait_s = (self._total - through) / rate
            self._note(f"{through} of {self._total} pages, {rate:.1f} a second, {wait_s:.0f} s left")
