"""Plans: costs of a ranker whose costs are known, ranges that hold the truth, prices by hand, and the command."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from wholepage.apps.cli import app
from wholepage.apps.plan.cost_model import CostModel, draws, fit
from wholepage.apps.plan.measurement import (
    Makeup,
    Measurement,
    Timing,
    measure,
    read_measurement,
    write_measurement,
)
from wholepage.apps.plan.planning import Plan, Range, Wish, plan
from wholepage.apps.plan.sampling import drawn
from wholepage.pages.errors import InputError, RecordError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Ranking, Result
from wholepage.pages.records import write_pages

TEXT, IMAGE = Modality.TEXT, Modality.IMAGE
PAGE_S, ITEM_S = 0.010, {"image": 0.050, "text": 0.002}
CLOSE = pytest.approx


def make_pages(count: int, seed: int = 0) -> list[Page]:
    """Pages of 2 to 9 texts and 0 to 4 pictures."""
    lots = np.random.default_rng(seed)
    pages = []
    for number in range(count):
        texts, pictures = int(lots.integers(2, 10)), int(lots.integers(0, 5))
        results = [Result(f"t{i}", TEXT, f"text {i} of {number}") for i in range(texts)]
        results += [Result(f"i{i}", IMAGE, images=(ImageRef(f"{number}-{i}.png"),)) for i in range(pictures)]
        pages.append(Page(Query(f"q{number}", f"query {number}"), tuple(results)))
    return pages


def true_seconds(pages: Sequence[Page]) -> float:
    return sum(PAGE_S + sum(ITEM_S[one.modality.value] for one in page.results) for page in pages)


class Costly:
    """A ranker on a clock of its own: what it costs is known, up to chance where ``noise`` is above 0."""

    name = "costly"

    def __init__(self, noise: float = 0.0, seed: int = 0) -> None:
        self.now, self.noise, self.lots = 0.0, noise, np.random.default_rng(seed)
        self.seen: list[str] = []
        self.calls: list[int] = []

    def clock(self) -> float:
        return self.now

    def load(self) -> Costly:
        self.now += 3.0
        return self

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        # a mean of 1 exactly: what is fitted is a mean
        self.now += true_seconds(pages) * math.exp(self.noise * self.lots.standard_normal() - self.noise**2 / 2)
        self.seen += [page.query_id for page in pages]
        self.calls.append(len(pages))
        return [Ranking(page.query_id, page.result_ids, by=self.name) for page in pages]


def measured(ranker: Costly, count: int = 120, *, batch_pages: int = 4, seed: int = 0) -> Measurement:
    pages = make_pages(count, seed)
    return measure(ranker.load, pages, model="costly", batch_pages=batch_pages, seed=seed, clock=ranker.clock)


# --- measuring --------------------------------------------------------------------------------------------------------


def test_costs_of_a_ranker_without_chance_are_found_exactly() -> None:
    found = measured(Costly())
    costs = fit(found.timings)
    assert costs.page_s == CLOSE(PAGE_S, rel=1e-6)
    assert costs.item_s == CLOSE(ITEM_S, rel=1e-6)
    assert found.load_s > 3.0
    told = plan(found, Wish())
    assert [check.ratio for check in told.checks] == CLOSE([1.0, 1.0], rel=1e-6)
    truth = true_seconds(make_pages(120)) / 120
    assert told.seconds_per_page.likely == CLOSE(truth, rel=1e-6)
    assert told.seconds_per_page.low < truth < told.seconds_per_page.high  # what pages are made of is a sample still


def test_every_page_is_shown_once_and_the_checks_are_of_two_other_sizes() -> None:
    ranker = Costly()
    found = measured(ranker)
    assert len(set(ranker.seen)) == len(ranker.seen)
    assert max(ranker.calls) == found.batch_pages == 4
    assert [check.pages for check in found.checks] == [12, 48]
    assert sum(one.pages for one in found.makeup) == 120
    kinds = {tuple(sorted(name for name, count in one.items.items() if count)) for one in found.timings}
    assert kinds >= {("image",), ("text",), ("image", "text")}  # else costs could not be told apart


def test_a_small_sample_makes_small_batches() -> None:
    ranker = Costly()
    found = measured(ranker, 20)
    assert found.batch_pages == 1
    assert len(found.timings) >= 7
    assert len(set(ranker.seen)) == len(ranker.seen)


def test_the_same_seed_parts_the_pages_alike() -> None:
    first, again, other = Costly(), Costly(), Costly()
    assert measured(first, seed=4) == measured(again, seed=4)
    measured(other, seed=5)
    assert first.seen == again.seen != other.seen


def test_too_few_or_empty_pages_are_refused() -> None:
    with pytest.raises(InputError, match=r"got 19 sample pages.*allowed: 20 or more"):
        measured(Costly(), 19)
    empty = Page(Query("none", "none"), ())
    with pytest.raises(InputError, match="without results"):
        measure(Costly().load, [*make_pages(30), empty], model="costly")
    assert empty not in drawn([*make_pages(30), empty], 100, 0)


def test_a_sample_is_drawn_without_return_from_all_pages() -> None:
    pages = make_pages(200)
    some = drawn(pages, 40, 3)
    assert len({page.query_id for page in some}) == 40
    assert some == drawn(pages, 40, 3) != drawn(pages, 40, 4)
    assert max(int(page.query_id[1:]) for page in some) > 150


# --- the model of costs -----------------------------------------------------------------------------------------------


def test_no_cost_is_below_zero_and_the_mean_has_no_bias() -> None:
    lots = np.random.default_rng(0)
    timings = []
    for _ in range(4000):
        pages, texts = int(lots.integers(1, 5)), int(lots.integers(0, 40))
        chance = math.exp(0.5 * lots.standard_normal() - 0.125)
        timings.append(Timing(pages, {"text": texts}, (0.002 * texts + 0.01 * pages) * chance))
    costs = fit(timings)
    assert costs.item_s["text"] == CLOSE(0.002, rel=0.03)
    assert costs.page_s == CLOSE(0.01, rel=0.06)
    falling = fit([Timing(1, {"text": 10}, 1.0), Timing(1, {"text": 20}, 0.5), Timing(1, {"text": 30}, 0.4)])
    assert falling.page_s > 0
    assert falling.item_s["text"] == 0.0


def test_a_modality_that_was_never_timed_is_refused() -> None:
    with pytest.raises(InputError, match="got results of video"):
        CostModel(0.1, {"text": 0.1}).seconds(1, {"text": 2, "video": 1})
    assert CostModel(0.1, {"text": 0.2}).seconds(2, {"text": 3, "video": 0}) == CLOSE(0.8)


def test_redraws_repeat_with_their_seed_and_lie_around_the_fit() -> None:
    found = measured(Costly(0.2))
    ones, again = draws(found.timings, 100, seed=1), draws(found.timings, 100, seed=1)
    assert ones == again != draws(found.timings, 100, seed=2)
    pictures = [one.item_s["image"] for one in ones]
    assert np.mean(pictures) == CLOSE(fit(found.timings).item_s["image"], rel=0.05)
    assert np.std(pictures) > 0


def test_ranges_hold_the_truth_as_often_as_they_say() -> None:
    """Over 24 measurements with chance; the truth is that of endless pages."""
    texts, pictures = 5.5, 2.0
    truth = PAGE_S + texts * ITEM_S["text"] + pictures * ITEM_S["image"]
    held, wide = 0, []
    for seed in range(24):
        one = plan(measured(Costly(0.15, seed), seed=seed), Wish(), seed=seed).seconds_per_page
        held += one.low <= truth <= one.high
        wide.append(one.high / one.low)
    assert held >= 22
    assert np.median(wide) < 2.0  # they would hold it also if they said nothing


# --- plans ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def even() -> Measurement:
    """Pages that are all alike, without chance: 0.1 s a page, so every range is a point."""
    timings = tuple(Timing(2, {"text": 2 * n}, 2 * (0.04 + 0.006 * n)) for n in (5, 10, 20, 10))
    checks = (Timing(10, {"text": 100}, 1.0), Timing(40, {"text": 400}, 4.0))
    return Measurement(
        model="m", ranker="r", machine="here", gpu="", load_s=36.0, batch_pages=2, timings=timings, checks=checks,
        makeup=(Makeup(100, {"text": 10}),),
    )  # fmt: skip


def likely(one: Range | None) -> float:
    assert one is not None
    assert one.low == CLOSE(one.likely, rel=1e-5)
    assert one.high == CLOSE(one.likely, rel=1e-5)
    return one.likely


def test_hours_money_and_days_by_hand(even: Measurement) -> None:
    wish = Wish(
        corpus_pages=1_000_000, workers=4, efficiency=0.8, gpus_per_worker=0.5, price_per_worker_hour=2.0,
        hours_a_day=10.0,
    )  # fmt: skip
    told = plan(even, wish)
    assert likely(told.seconds_per_page) == CLOSE(0.1)
    assert likely(told.pages_per_day) == CLOSE(4 * 0.8 * 36000 / 0.1)
    hours = 1_000_000 * 0.1 / 0.8 / 3600 + 4 * 36.0 / 3600
    assert likely(told.worker_hours) == CLOSE(hours)
    assert likely(told.gpu_hours) == CLOSE(hours / 2)
    assert likely(told.money) == CLOSE(2 * hours)
    assert likely(told.days) == CLOSE(hours / 40)
    assert (told.affordable_pages, told.suffices, told.workers_for_days) == (None, None, None)


def test_what_was_not_asked_is_not_told(even: Measurement) -> None:
    told = plan(even, Wish())
    assert likely(told.pages_per_day) == CLOSE(864_000)
    rest = (told.worker_hours, told.gpu_hours, told.days, told.money, told.affordable_pages, told.suffices)
    assert rest == (None,) * 6


def test_a_budget_says_how_many_pages_and_whether_they_suffice(even: Measurement) -> None:
    def told(corpus: int, budget: float) -> Plan:
        return plan(even, Wish(corpus_pages=corpus, budget=budget, price_per_worker_hour=1.0))

    pays = 10 * 36000 - 360  # 10 hours at 36,000 pages an hour, less 36 s of loading
    assert likely(told(1000, 10.0).affordable_pages) == CLOSE(pays, abs=2)
    assert told(pays - 100, 10.0).suffices == "yes"
    assert told(pays + 100, 10.0).suffices == "no"
    assert likely(told(1000, 0.001).affordable_pages) == 0.0  # less than loading costs
    unsure = msgspec.structs.replace(even, checks=(Timing(10, {"text": 100}, 1.25), even.checks[1]))
    near = plan(unsure, Wish(corpus_pages=pays, budget=10.0, price_per_worker_hour=1.0))
    assert near.suffices == "perhaps"


def test_days_say_how_many_workers(even: Measurement) -> None:
    told = plan(even, Wish(corpus_pages=10_000_000, days=2.0))
    assert likely(told.workers_for_days) == math.ceil(1_000_000 / (2 * 86400 - 36))
    assert plan(even, Wish(corpus_pages=10, days=1e-4)).workers_for_days is None  # loading takes longer


def test_ranges_are_widened_by_the_worst_miss_of_the_checks(even: Measurement) -> None:
    for seconds in (0.8, 1.25):
        off = msgspec.structs.replace(even, checks=(Timing(10, {"text": 100}, seconds), even.checks[1]))
        one = plan(off, Wish()).seconds_per_page
        assert (one.low, one.likely, one.high) == CLOSE((0.08, 0.1, 0.125))


def test_another_length_of_pages_is_carried_on(even: Measurement) -> None:
    assert likely(plan(even, Wish(items_per_page=40.0)).seconds_per_page) == CLOSE(0.04 + 0.006 * 40)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"corpus_pages": 0}, "corpus_pages 0"),
        ({"efficiency": 1.5}, "efficiency 1.5"),
        ({"hours_a_day": 25.0}, "25.0 hours a day"),
        ({"budget": 5.0}, "a budget without a price"),
        ({"budget": 5.0, "price_per_worker_hour": 0.0}, "a budget without a price"),
        ({"days": 5.0}, "days without a corpus"),
        ({"price_per_worker_hour": -1.0}, "price_per_worker_hour -1.0"),
        ({"budget": math.nan, "price_per_worker_hour": 1.0}, "budget nan"),
        ({"items_per_page": math.inf}, "items_per_page inf"),
    ],
)
def test_wishes_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"got .*{said}"):
        Wish(**wrong)


# --- files and the command --------------------------------------------------------------------------------------------


def test_a_measurement_comes_back_from_its_file(tmp_path: Path) -> None:
    found = measured(Costly(0.1))
    write_measurement(tmp_path / "m.json", found)
    assert read_measurement(tmp_path / "m.json") == found
    broken = json.loads((tmp_path / "m.json").read_text())
    broken["timings"][0]["seconds"] = -1
    (tmp_path / "m.json").write_text(json.dumps(broken))
    with pytest.raises(RecordError, match="seconds above 0"):
        read_measurement(tmp_path / "m.json")
    with pytest.raises(InputError, match="no file"):
        read_measurement(tmp_path / "none.json")


def run(line: str) -> Any:
    return CliRunner().invoke(app, shlex.split(line)[1:])


def test_the_command_times_a_real_ranker_and_plans_from_its_file(tmp_path: Path) -> None:
    texts = [page.only(TEXT) for page in make_pages(60)]
    write_pages(tmp_path / "pages.jsonl", texts)
    kept = tmp_path / "kept.json"
    said = run(
        f"wholepage plan {tmp_path / 'pages.jsonl'} --model bm25 --keep {kept} --corpus-pages 1000000 "
        "--price-per-worker-hour 0.5 --budget 1000 --sample 50 --json"
    )
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert told["worker_hours"]["likely"] > 0
    assert told["money"]["likely"] == CLOSE(0.5 * told["worker_hours"]["likely"])
    assert [check["pages"] for check in told["checks"]] == [5, 20]
    found = read_measurement(kept)
    assert found.model == "bm25"
    assert sum(one.pages for one in found.makeup) == 50
    again = run(
        f"wholepage plan --measured {kept} --corpus-pages 1000000 --price-per-worker-hour 0.5 --budget 1000 --json"
    )
    assert json.loads(again.stdout) == told
    table = run(f"wholepage plan --measured {kept} --corpus-pages 1000000 --days 3")
    assert table.exit_code == 0, table.output
    for words in ("seconds a page", "worker hours", "workers for 3.0 days"):
        assert words in table.stdout
    assert "ratio" in table.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("wholepage plan", "got pages and --measured, or neither"),
        ("wholepage plan pages.jsonl --measured m.json", "got pages and --measured, or neither"),
        ("wholepage plan --measured m.json --model bm25", "got --measured with --model"),
        ("wholepage plan pages.jsonl --budget 3", "a budget without a price"),
        ("wholepage plan --measured nowhere.json", "no file"),
    ],
)
def test_the_command_refuses_before_it_times_anything(line: str, said: str) -> None:
    done = run(line)
    assert done.exit_code not in (0, 1)
    assert said in " ".join(done.stderr.split())
