"""The engine past one machine: Ray Data hands shards to a pool of actors, each of which holds the model.

A row of the dataset is a shard, not a page: pages never travel between machines, an actor reads them where they lie and
writes its file itself. Input, output and model folder must be in reach of every machine under the same address. An
actor that is killed is replaced by Ray and its shard done again, the third time the job ends.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import msgspec

from wholepage.apps.batch.messages import FROM_WORKER, Failed, Finished, Told
from wholepage.apps.batch.plan import Shard
from wholepage.apps.batch.shards import Order, ShardWork, peak_bytes
from wholepage.apps.batch.work import work_for
from wholepage.apps.serving.failures import error_of, failure_of
from wholepage.apps.worker_environment import worker_environment
from wholepage.pages.errors import InputError, WholepageError, WorkerLost, require

HERE = "local"
"""The address that starts Ray on this machine for the length of the job."""

_COLUMN = "text"
_TRIED_AGAIN = 2


class RayActors:
    """A pool of Ray actors.

    Args:
        address: ``"local"``, ``"auto"`` (the cluster that runs), or the address of one.
        count: of actors.  threads: of each, and how many processors it takes.  gpus: that each takes, in parts if need
            be.
    Raises:
        InputError: a number is out of range.
    """

    def __init__(self, address: str, count: int, *, threads: int = 1, gpus: float = 0.0) -> None:
        if count < 1 or threads < 1 or gpus < 0:
            raise InputError(
                f"batch: got {count} workers of {threads} threads and {gpus:g} GPUs; allowed: 1 and up, GPUs 0 and up; "
                "mend it"
            )
        self.address, self.count, self.threads, self.gpus = address, count, threads, gpus

    def run(self, order: Order, shards: Sequence[Shard], told: Told) -> None:
        """Have the shards done; a Ray that was started here is stopped at the end.

        Raises:
            MissingExtra: Ray is not installed.
            WorkerLost: Ray cannot start, or cannot go on.
            Whatever an actor tells: of a row, of the input, of the model.
        """
        if not shards:
            return
        ray: Any = require("ray", "ray")
        require("pandas", "ray")  # Ray Data is built on it
        require("ray.data", "ray")
        mine = not ray.is_initialized()
        try:
            with redirect_stdout(sys.stderr):  # where Ray tells of actors and machines; stdout is the command's
                if mine:
                    self._start(ray)
                self._run(ray, order, shards, told)
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise WorkerLost(
                f"Ray at {self.address!r}: got {type(error).__name__} ({' '.join(str(error).split())[:300]}); allowed: "
                "a cluster that works; run the command again, it goes on where this stopped"
            ) from error
        finally:
            if mine:
                with redirect_stdout(sys.stderr):
                    ray.shutdown()

    def _start(self, ray: Any) -> None:
        if self.address == HERE:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers of every start
            ray.init(num_cpus=max(self.count * self.threads, os.cpu_count() or 1), include_dashboard=False)
        else:
            ray.init(address=self.address)

    def _run(self, ray: Any, order: Order, shards: Sequence[Shard], told: Told) -> None:
        rows = [{_COLUMN: msgspec.json.encode(shard).decode()} for shard in shards]
        ray.data.DataContext.get_current().enable_progress_bars = False  # the job tells how far it is
        warnings.filterwarnings("ignore", message=".*ray_remote_args")  # no other way to say how often to try
        answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            ShardActor,
            fn_constructor_args=(msgspec.json.encode(order).decode(),),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(self.count, len(shards)), max_tasks_in_flight_per_actor=1),
            num_cpus=self.threads,
            num_gpus=self.gpus,
            runtime_env={"env_vars": worker_environment(self.threads)},
            max_restarts=-1,
            max_task_retries=_TRIED_AGAIN,  # Ray Data would try for ever
        )
        for answer in answers.iter_rows():
            match FROM_WORKER.decode(answer[_COLUMN]):
                case Failed(failure=failure):
                    raise error_of(failure)
                case event:
                    told(event)


class ShardActor:
    """What runs in an actor: it loads the model once, and does one shard a call.

    An error that has a name is answered, not raised: Ray would wrap it and try again.

    Args:
        order: as JSON.
    """

    def __init__(self, order: str) -> None:
        told = msgspec.json.decode(order, type=Order)
        self._work: ShardWork | Failed
        try:
            self._work = ShardWork(told, work_for(told.settings))
        except WholepageError as error:
            self._work = Failed(failure_of(error))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """One answer a shard, both as JSON."""
        return {_COLUMN: [msgspec.json.encode(self._answer(text)).decode() for text in batch[_COLUMN]]}

    def _answer(self, text: str) -> Finished | Failed:
        if isinstance(self._work, Failed):
            return self._work
        shard = msgspec.json.decode(str(text), type=Shard)
        try:
            return Finished(self._work.do(shard, lambda rows: None), str(os.getpid()), peak_bytes())
        except WholepageError as error:
            return Failed(failure_of(error))
