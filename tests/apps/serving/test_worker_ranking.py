"""What a worker does with rankers, in this process: fair to every page of a batch, and honest about broken rankers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from wholepage.apps.places import NotFound
from wholepage.apps.serving.calls import Told
from wholepage.apps.serving.frames import Answered, Refused
from wholepage.apps.serving.ranking import answer_pages, measured_pace
from wholepage.apps.serving.served_models import LoadedModel, ModelSpec, load_model, spec_of
from wholepage.pages.errors import InputError, NoRanker, WeightsError
from wholepage.pages.model import Page, Ranking
from wholepage.rankers.listwise_diagnostics import Diagnostics, PageDiagnostics
from wholepage.rankers.permutation_text import Repairs
from wholepage.rankers.weights import save_model

from .engines import page_of


class Calls:
    """Ranks in the order received; notes how many pages each call had; breaks on the query "bad"."""

    name = "calls"

    def __init__(self, error: BaseException | None = None) -> None:
        self.sizes: list[int] = []
        self.error = error

    def rank(self, pages: Sequence[Page]) -> list[Ranking]:
        self.sizes.append(len(pages))
        if self.error is not None and any(page.query.text == "bad" for page in pages):
            raise self.error
        return [Ranking(page.query_id, page.result_ids) for page in pages]


def test_a_batch_is_one_call() -> None:
    ranker = Calls()
    answers = answer_pages(ranker, [page_of("a"), page_of("b")])
    assert ranker.sizes == [2]
    assert [answer.outcome.order for answer in answers] == [(0, 1, 2)] * 2


@pytest.mark.parametrize(
    "error", [NoRanker("no"), KeyError("x"), RuntimeError("x"), MemoryError(), OSError("x"), RecursionError()]
)
def test_one_bad_page_is_found_and_the_others_are_ranked(error: BaseException) -> None:
    ranker = Calls(error)
    answers = answer_pages(ranker, [page_of(query) for query in ("a", "bad", "b")])
    assert [type(answer) for answer in answers] == [Answered, Refused, Answered]
    assert ranker.sizes == [3, 1, 1, 1]


def test_what_is_meant_to_end_the_process_is_not_stopped() -> None:
    with pytest.raises(SystemExit):
        answer_pages(Calls(SystemExit()), [page_of("bad")])


def test_too_few_rankings_are_no_answer() -> None:
    class Forgetful(Calls):
        def rank(self, pages: Sequence[Page]) -> list[Ranking]:
            return super().rank(pages)[1:]

    (answer,) = answer_pages(Forgetful(), [page_of("a")])
    assert answer.failure.kind == "DecodingError"


def test_rankings_of_other_pages_are_no_answer() -> None:
    class Swapped(Calls):
        def rank(self, pages: Sequence[Page]) -> list[Ranking]:
            return [Ranking("other", page.result_ids) for page in pages]

    (answer,) = answer_pages(Swapped(), [page_of("a")])
    assert answer.failure.kind == "DecodingError"


def test_what_a_listwise_ranker_tells_is_told() -> None:
    class Telling(Calls):
        def rank_and_tell(self, pages: Sequence[Page]) -> tuple[list[Ranking], Diagnostics]:
            told = PageDiagnostics("query", windows=3, truncated={"2": 10, "": 4}, repairs=Repairs(missing=2, stray=1))
            return self.rank(pages), Diagnostics((told,) * len(pages))

    (answer,) = answer_pages(Telling(), [page_of("a")])
    told = answer.outcome.told
    assert (told.windows, told.repairs, told.truncated) == (3, 3, (2,))
    assert told.rank_ms > 0
    (plain,) = answer_pages(Calls(), [page_of("a")])
    assert plain.outcome.told == Told(rank_ms=plain.outcome.told.rank_ms)


def test_pace_is_measured_where_texts_are_read() -> None:
    assert measured_pace(LoadedModel(Calls(), "x", ("text",))) > 0
    assert measured_pace(LoadedModel(Calls(), "x", ("image",))) == 0.0

    class Blind(Calls):
        def rank(self, pages: Sequence[Page]) -> list[Ranking]:
            raise NoRanker("no")

    assert measured_pace(LoadedModel(Blind(), "x", ("text",))) == 0.0


# ---------------------------------------------------------------- specs


def test_what_names_a_model(tmp_path: Path) -> None:
    ours, theirs, empty = tmp_path / "ours", tmp_path / "theirs", tmp_path / "empty"
    save_model(ours, "x", {}, {})
    for folder in (theirs, empty):
        folder.mkdir()
    (theirs / "config.json").write_text("{}")
    assert spec_of("offline") == ModelSpec("offline")
    assert spec_of("bm25") == ModelSpec("bm25")
    assert spec_of(ours) == ModelSpec("folder", str(ours))
    assert spec_of(str(theirs)) == ModelSpec("cross-encoder", str(theirs))
    with pytest.raises(NotFound):
        spec_of(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"manifest\.json or config\.json"):
        spec_of(empty)


@pytest.mark.parametrize(("kind", "source"), [("bm25", "x"), ("offline", "x"), ("folder", ""), ("cross-encoder", "")])
def test_specs_that_say_too_much_or_too_little_are_refused(kind: str, source: str) -> None:
    with pytest.raises(InputError, match="source"):
        ModelSpec(kind, source)


def test_a_folder_that_is_no_model_is_refused_when_it_is_read(tmp_path: Path) -> None:
    save_model(tmp_path / "odd", "unheard-of", {}, {})
    with pytest.raises(WeightsError, match="unheard-of"):
        load_model(ModelSpec("folder", str(tmp_path / "odd")))
    for kind in ("folder", "cross-encoder"):
        with pytest.raises(NotFound):
            load_model(ModelSpec(kind, str(tmp_path / "nowhere")))


def test_bm25_reads_texts_and_answers() -> None:
    model = load_model(ModelSpec("bm25"))
    assert (model.kind, model.modalities, model.reads) == ("bm25", ("text", "answer"), 0)
    (answer,) = answer_pages(model.ranker, [page_of("lamp", "a shoe", "a lamp", "nothing")])
    assert answer.outcome.order[0] == 1
