from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, NoRanker, ShapeError, WeightsError
from wholepage.pages.model import Modality, Page, Query
from wholepage.pages.protocols import Ranker, Scorer
from wholepage.rankers.features import Featurizer, PageItems
from wholepage.rankers.fusion import Missing, SingleModal
from wholepage.rankers.matching import ResultVectors
from wholepage.rankers.tower import Tower, TowerReader, TowerScorer
from wholepage.rankers.weights import load_model, read_manifest, save_model
from wholepage.rankers.whole_page import PageHead, WholePageRanker, head_scores, pad_items

TEXT, IMAGE, VIDEO, ANSWER = Modality
MIXED = [TEXT, IMAGE, VIDEO, ANSWER, TEXT, IMAGE, VIDEO, TEXT]
NAMES = ("clicks", "price")
CLOSE = 1e-5
QUERY, ITEM, NUMBERS = 12, 10, 9


def head_of(seed: int = 0, **sizes: int) -> PageHead:
    torch.manual_seed(seed)
    return PageHead(QUERY, ITEM, NUMBERS, **{"width": 16, "layers": 2, "heads": 4, **sizes}).eval()


def items_of(*lengths: int) -> list[PageItems]:
    random = np.random.default_rng(sum(lengths))

    def normal(*shape: int) -> NDArray[np.float32]:
        return random.standard_normal(shape, dtype=np.float32)

    return [PageItems(normal(QUERY), normal(n, ITEM), normal(n, NUMBERS), random.integers(0, 4, n)) for n in lengths]


def forward(head: PageHead, pages: Sequence[PageItems]) -> NDArray[np.float32]:
    batch = pad_items(pages)
    with torch.no_grad():
        return np.asarray(head(batch.query, batch.item, batch.numbers, batch.mask))


# ---------------------------------------------------------------- padding


def test_pages_are_padded_to_the_longest() -> None:
    pages = items_of(3, 0, 5)
    batch = pad_items(pages)
    assert batch.item.shape == (3, 5, ITEM)
    assert batch.numbers.shape == (3, 5, NUMBERS)
    np.testing.assert_array_equal(batch.mask.sum(dim=1), [3, 0, 5])
    np.testing.assert_array_equal(batch.query, np.stack([page.query for page in pages]))
    np.testing.assert_array_equal(batch.item[0, :3], pages[0].item)
    np.testing.assert_array_equal(batch.group[0], [*pages[0].group, -1, -1])
    assert not batch.item[0, 3:].any()
    assert not batch.numbers[1].any()


def test_a_batch_of_empty_pages_has_one_column_of_padding() -> None:
    batch = pad_items(items_of(0, 0))
    assert batch.item.shape == (2, 1, ITEM)
    assert not batch.mask.any()


# ---------------------------------------------------------------- the head


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_the_head_follows_the_order_of_results(layers: int) -> None:
    head, [page] = head_of(layers=layers), items_of(17)
    order = np.random.default_rng(0).permutation(17)
    turned = PageItems(page.query, page.item[order], page.numbers[order], page.group[order])
    [scores], [permuted] = forward(head, [page]), forward(head, [turned])
    assert scores.std() > 0.05
    np.testing.assert_allclose(permuted, scores[order], atol=CLOSE)


@pytest.mark.parametrize("layers", [0, 2])
def test_the_head_does_not_see_padding(layers: int) -> None:
    head, pages = head_of(layers=layers), items_of(4, 60)
    together = forward(head, pages)
    np.testing.assert_allclose(together[0, :4], forward(head, pages[:1])[0], atol=CLOSE)
    np.testing.assert_array_equal(together[0, 4:], 0)


def test_what_lies_in_padding_does_not_matter() -> None:
    head, batch = head_of(), pad_items(items_of(4, 9))
    with torch.no_grad():
        clean = head(batch.query, batch.item, batch.numbers, batch.mask)
        random = torch.Generator().manual_seed(0)
        item = torch.where(batch.mask[..., None], batch.item, 9 * torch.randn(batch.item.shape, generator=random))
        numbers = torch.where(
            batch.mask[..., None], batch.numbers, 9 * torch.randn(batch.numbers.shape, generator=random)
        )
        dirty = head(batch.query, item, numbers, batch.mask)
    np.testing.assert_allclose(dirty, clean, atol=CLOSE)


def test_results_look_at_each_other() -> None:
    [page] = items_of(6)
    changed = PageItems(page.query, page.item.copy(), page.numbers.copy(), page.group)
    changed.numbers[5] += 3
    apart, together = head_of(layers=0), head_of(layers=1)
    np.testing.assert_array_equal(forward(apart, [page])[0, :5], forward(apart, [changed])[0, :5])
    assert np.abs(forward(together, [page])[0, :5] - forward(together, [changed])[0, :5]).min() > 1e-4


def test_the_query_matters() -> None:
    [page], head = items_of(6), head_of()
    other = PageItems(-page.query, page.item, page.numbers, page.group)
    assert np.abs(forward(head, [page]) - forward(head, [other])).max() > 1e-2


def test_no_gradient_flows_from_padding_or_between_pages() -> None:
    head, batch = head_of(), pad_items(items_of(4, 0, 9))
    query, item, numbers = (part.requires_grad_() for part in (batch.query, batch.item, batch.numbers))
    head(query, item, numbers, batch.mask)[0].sum().backward()
    for part in (item, numbers):
        assert part.grad is not None
        assert part.grad[0, :4].abs().sum(dim=-1).min() > 0
        assert not part.grad[0, 4:].any()
        assert not part.grad[1:].any()
    assert query.grad is not None
    assert not query.grad[1:].any()
    head.zero_grad()
    head(query, item, numbers, batch.mask)[1].sum().backward()
    for name, weight in head.named_parameters():
        assert weight.grad is None or not weight.grad.any(), name


def test_all_weights_get_finite_gradients() -> None:
    head, batch = head_of(), pad_items(items_of(4, 0, 1, 9))
    head.train()
    head(batch.query, batch.item, batch.numbers, batch.mask).square().sum().backward()
    for name, weight in head.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        assert name.endswith("qkv.bias") or weight.grad.any(), name


@pytest.mark.parametrize(("width", "heads"), [(64, 5), (4, 8)])
def test_a_width_that_heads_cannot_share_is_refused(width: int, heads: int) -> None:
    with pytest.raises(ShapeError, match=f"got width {width} for {heads} heads; allowed: a multiple"):
        PageHead(QUERY, ITEM, NUMBERS, width=width, heads=heads)


def test_parts_that_do_not_fit_are_refused() -> None:
    head, batch = head_of(), pad_items(items_of(3, 3))
    for bad in (
        (batch.query[:1], batch.item, batch.numbers, batch.mask),
        (batch.query, batch.item[:, :2], batch.numbers, batch.mask),
        (batch.query, batch.item, batch.numbers[:1], batch.mask),
    ):
        with pytest.raises(ShapeError, match="the same"):
            head(*bad)


# ---------------------------------------------------------------- head_scores

LENGTHS = (20, 1, 0, 7, 60, 3, 0, 20, 33, 2) * 7


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_scores_are_the_same_for_every_batch_size(batch_size: int) -> None:
    heads, pages = [head_of(0), head_of(1)], items_of(*LENGTHS)
    alone = [head_scores(heads, [page])[0] for page in pages]
    for page, expected, found in zip(pages, alone, head_scores(heads, pages, batch_size=batch_size), strict=True):
        assert found.shape == (len(page),)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=CLOSE)


def test_a_pages_scores_do_not_depend_on_its_neighbours() -> None:
    heads, pages = [head_of()], items_of(5, 5, 5, 5)
    huge = PageItems(100 * pages[1].query, 100 * pages[1].item, 100 * pages[1].numbers, pages[1].group)
    among = head_scores(heads, [pages[0], huge, *pages[2:]])
    np.testing.assert_allclose(among[0], head_scores(heads, pages)[0], atol=CLOSE)


def test_heads_are_averaged_and_dropout_is_off() -> None:
    heads, pages = [head_of(seed).train() for seed in range(3)], items_of(6, 4)
    mean = head_scores(heads, pages)
    each = [head_scores([head], pages) for head in heads]
    for i in range(2):
        np.testing.assert_allclose(mean[i], np.mean([one[i] for one in each], axis=0), atol=CLOSE)
        np.testing.assert_array_equal(mean[i], head_scores(heads, pages)[i])


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_threads_do_not_change_a_bit(threads: Callable[[int], None]) -> None:
    heads, pages, found = [head_of(0), head_of(1)], items_of(*LENGTHS), []
    for count in (1, 2, 3):
        threads(count)
        found.append(head_scores(heads, pages, batch_size=8))
        assert torch.get_num_threads() == count
    for one, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_an_error_in_a_thread_comes_out_and_leaves_the_threads_as_they_were(threads: Callable[[int], None]) -> None:
    pages = items_of(*LENGTHS)
    pages[9] = PageItems(pages[9].query, pages[9].item[:-1], pages[9].numbers, pages[9].group)
    threads(2)
    with pytest.raises(ValueError, match="broadcast"):
        head_scores([head_of()], pages, batch_size=8)
    assert torch.get_num_threads() == 2


def test_no_pages_have_no_scores() -> None:
    assert head_scores([head_of()], []) == []


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_that_is_not_positive_is_refused(batch_size: int) -> None:
    with pytest.raises(ShapeError, match=f"got batch_size {batch_size}; allowed: 1 or more"):
        head_scores([head_of()], items_of(2), batch_size=batch_size)


# ---------------------------------------------------------------- the ranker, from pages to scores


class Constant:
    """Not a tower: the same score for everything, or none."""

    def __init__(self, value: float = 0.5, name: str = "constant") -> None:
        self.value, self.name = value, name

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        return [np.full(len(page), self.value, np.float32) for page in pages]


def towers_of(
    vectors: ResultVectors, pages: Sequence[Page], *modalities: Modality, missing: Missing = "raise"
) -> SingleModal:
    """One tower a modality, as it comes from its seed; ``ANSWER`` shares that of ``TEXT``, ``VIDEO`` of ``IMAGE``."""
    torch.manual_seed(0)
    made: dict[Modality, Scorer] = {}
    for modality, also in ((TEXT, ANSWER), (IMAGE, VIDEO)):
        reader = TowerReader.fit(vectors, [page.only(modality) for page in pages], NAMES)
        towers = [Tower(16, reader.vector_scale.dim, 6, rank=4, hidden=3) for _ in range(2)]
        made[modality] = made[also] = TowerScorer(modality, reader, towers, also=[also])
    return SingleModal({m: made[m] for m in modalities or tuple(Modality)}, missing)


def ranker_of(
    vectors: ResultVectors,
    pages: Sequence[Page],
    upstream: Scorer,
    read_as: dict[Modality, Modality] | None = None,
    **named: Any,
) -> WholePageRanker:
    featurizer = Featurizer.fit(upstream, vectors, pages, upstream.score(pages), NAMES, read_as, keep=10)
    torch.manual_seed(1)
    heads = [PageHead(16, 10, len(featurizer.scale.names), width=16, heads=2) for _ in range(2)]
    return WholePageRanker(featurizer, heads, **named)


@pytest.fixture(scope="module")
def pages(make_page: Any) -> list[Page]:
    return [make_page(f"q{i}", MIXED) for i in range(12)]


@pytest.fixture(scope="module")
def ranker(vectors: ResultVectors, pages: list[Page]) -> WholePageRanker:
    return ranker_of(vectors, pages, towers_of(vectors, pages))


@pytest.fixture(scope="module")
def many(make_page: Any) -> list[Page]:
    random = np.random.default_rng(5)
    lengths = [0, 1, 60, *random.integers(0, 25, 61)]
    kinds = tuple(Modality)
    return [make_page(f"many{i}", [kinds[k] for k in random.integers(0, 4, n)]) for i, n in enumerate(lengths)]


def test_a_permuted_page_gets_permuted_scores(ranker: WholePageRanker, make_page: Any) -> None:
    page = make_page("long", MIXED * 3)
    order = np.random.default_rng(2).permutation(len(page))
    [scores] = ranker.score([page])
    [permuted] = ranker.score([Page(page.query, tuple(page.results[i] for i in order))])
    assert scores.std() > 0.01
    np.testing.assert_allclose(permuted, scores[order], atol=CLOSE)


def test_scores_are_the_same_alone_in_sevens_and_in_64(ranker: WholePageRanker, many: list[Page]) -> None:
    assert len(many) == 64
    whole = ranker.score(many)
    sevens = [scores for start in range(0, 64, 7) for scores in ranker.score(many[start : start + 7])]
    for page, first, second in zip(many, whole, sevens, strict=True):
        [alone] = ranker.score([page])
        assert first.shape == (len(page),)
        assert np.isfinite(first).all()
        np.testing.assert_allclose(first, alone, atol=CLOSE)
        np.testing.assert_allclose(second, alone, atol=CLOSE)


def test_a_page_beside_one_of_60_items(ranker: WholePageRanker, make_page: Any) -> None:
    short, long = make_page("short", MIXED[:5]), make_page("long", [TEXT, IMAGE, ANSWER] * 20)
    np.testing.assert_allclose(ranker.score([long, short])[1], ranker.score([short])[0], atol=CLOSE)


def test_it_is_a_ranker_that_loses_nothing(ranker: WholePageRanker, many: list[Page]) -> None:
    assert isinstance(ranker, Ranker)
    for page, ranking, scores in zip(many, ranker.rank(many), ranker.score(many), strict=True):
        ranking.check(page)
        assert ranking.by == "smar"
        assert list(ranking.scores or ()) == sorted(scores.tolist(), reverse=True)
        best_first = np.argsort(-scores, kind="stable")
        assert ranking.result_ids == tuple(page.results[i].result_id for i in best_first)


def test_empty_pages_and_pages_of_one(ranker: WholePageRanker, make_page: Any) -> None:
    empty = Page(Query("none", "red"))
    [nothing] = ranker.rank([empty])
    assert (nothing.query_id, nothing.result_ids, nothing.scores) == ("none", (), ())
    for modality in Modality:
        one = make_page(f"one {modality.value}", [modality])
        first, [second], last = ranker.rank([empty, one, empty])[0], ranker.rank([one]), ranker.rank([empty])[0]
        assert first == last == nothing
        assert second.result_ids == one.result_ids
        assert second.scores is not None
        assert np.isfinite(second.scores[0] or 0.0)
    assert ranker.rank([]) == []


def test_a_single_modal_ranker_without_opinion_gives_no_nan(vectors: ResultVectors, pages: list[Page]) -> None:
    ranker = ranker_of(vectors, pages, Constant(np.nan))
    for scores in ranker.score(pages):
        assert np.isfinite(scores).all()


def test_a_modality_that_nothing_covers_is_refused(vectors: ResultVectors, make_page: Any) -> None:
    seen = [make_page(f"q{i}", [TEXT, IMAGE]) for i in range(6)]
    new = make_page("new", [TEXT, ANSWER])
    ranker = ranker_of(vectors, seen, towers_of(vectors, seen))
    with pytest.raises(NoRanker, match=r"'new': results\[1\] 'new/1': got modality 'answer'"):
        ranker.rank([seen[0], new])
    assert ranker_of(vectors, seen, towers_of(vectors, seen), {ANSWER: TEXT}).rank([new])[0].check(new)


def test_a_modality_without_a_single_modal_ranker(vectors: ResultVectors, pages: list[Page]) -> None:
    lenient = towers_of(vectors, pages, TEXT, IMAGE, missing="last")
    ranker = ranker_of(vectors, pages, lenient)
    assert all(np.isfinite(scores).all() for scores in ranker.score(pages))
    strict = WholePageRanker(
        Featurizer(
            towers_of(vectors, pages, TEXT, IMAGE),
            vectors,
            ranker.featurizer.known,
            ranker.featurizer.scale,
            ranker.featurizer.vector_scale,
        ),
        ranker.heads,
    )
    with pytest.raises(NoRanker, match=r"got modality 'video'; allowed: \['text', 'image'\]"):
        strict.score(pages)


def test_a_query_without_words_is_refused(ranker: WholePageRanker, make_page: Any) -> None:
    with pytest.raises(InputError, match="'wordless'"):
        ranker.rank([Page(Query("wordless", " "), make_page("p", [TEXT]).results)])


def test_a_ranker_wants_a_head(ranker: WholePageRanker) -> None:
    with pytest.raises(InputError, match="mine: got no head"):
        WholePageRanker(ranker.featurizer, [], name="mine")


# ---------------------------------------------------------------- model folders


def test_a_saved_ranker_scores_the_same_to_the_bit(
    vectors: ResultVectors, make_page: Any, many: list[Page], tmp_path: Path
) -> None:
    seen = [make_page(f"q{i}", [TEXT, IMAGE, VIDEO]) for i in range(6)]
    made_of = {"page_labels": 18, "strategy": "random", "config": {"members": 2}}
    ranker = ranker_of(vectors, seen, towers_of(vectors, seen), {ANSWER: TEXT}, made_of=made_of, name="mine")
    ranker.save(tmp_path / "m")
    again = WholePageRanker.load(tmp_path / "m", vectors)
    assert (again.name, again.made_of) == ("mine", made_of)
    assert again.featurizer.read_as == {ANSWER: TEXT}
    assert again.featurizer.known == (TEXT, IMAGE, VIDEO)
    assert again.featurizer.upstream.name == ranker.featurizer.upstream.name
    for first, second in zip(ranker.score(many), again.score(many), strict=True):
        np.testing.assert_array_equal(first, second)


def test_single_modal_rankers_lie_inside_and_a_shared_one_once(
    ranker: WholePageRanker, vectors: ResultVectors, tmp_path: Path
) -> None:
    ranker.save(tmp_path / "m")
    assert sorted(path.name for path in (tmp_path / "m").iterdir() if path.is_dir()) == ["single-image", "single-text"]
    assert set(read_manifest(tmp_path / "m").children) == {"single-image", "single-text"}
    upstream = WholePageRanker.load(tmp_path / "m", vectors).featurizer.upstream
    assert isinstance(upstream, SingleModal)
    assert upstream.scorers[TEXT] is upstream.scorers[ANSWER]
    assert upstream.scorers[IMAGE] is upstream.scorers[VIDEO]


def test_two_towers_of_one_modality_are_both_kept(
    vectors: ResultVectors, pages: list[Page], many: list[Page], tmp_path: Path
) -> None:
    texts, others = towers_of(vectors, pages), towers_of(vectors, pages[:3])
    upstream = SingleModal({**texts.scorers, ANSWER: others.scorers[TEXT]})
    ranker = ranker_of(vectors, pages, upstream)
    ranker.save(tmp_path / "m")
    assert {"single-text", "single-answer"} <= set(read_manifest(tmp_path / "m").children)
    again = WholePageRanker.load(tmp_path / "m", vectors)
    for first, second in zip(ranker.score(many), again.score(many), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("missing", ["raise", "last"])
def test_what_happens_without_a_single_modal_ranker_is_kept(
    missing: Missing, vectors: ResultVectors, pages: list[Page], make_page: Any, tmp_path: Path
) -> None:
    lenient = ranker_of(vectors, pages, towers_of(vectors, pages, TEXT, IMAGE, missing="last"))
    upstream = towers_of(vectors, pages, TEXT, IMAGE, missing=missing)
    read = lenient.featurizer
    ranker = WholePageRanker(Featurizer(upstream, vectors, read.known, read.scale, read.vector_scale), lenient.heads)
    ranker.save(tmp_path / "m")
    again = WholePageRanker.load(tmp_path / "m", vectors)
    if missing == "raise":
        with pytest.raises(NoRanker):
            again.score(pages)
    else:
        np.testing.assert_array_equal(again.score(pages)[0], lenient.score(pages)[0])


def test_other_single_modal_rankers_have_to_be_given_at_load(
    vectors: ResultVectors, pages: list[Page], tmp_path: Path
) -> None:
    mixed = SingleModal({**towers_of(vectors, pages).scorers, TEXT: Constant()})
    for upstream in (Constant(), mixed):
        ranker = ranker_of(vectors, pages, upstream)
        ranker.save(tmp_path / "m")
        assert not read_manifest(tmp_path / "m").children
        with pytest.raises(WeightsError, match=r"got no single-modal rankers inside; .*upstream="):
            WholePageRanker.load(tmp_path / "m", vectors)
        with pytest.raises(WeightsError, match=r"got single-modal rankers 'another'; allowed: '.*constant"):
            WholePageRanker.load(tmp_path / "m", vectors, Constant(name="another"))
        again = WholePageRanker.load(tmp_path / "m", vectors, upstream)
        np.testing.assert_array_equal(again.score(pages)[0], ranker.score(pages)[0])


def test_other_encoders_and_other_kinds_are_refused(
    ranker: WholePageRanker, vectors: ResultVectors, texts: Any, images: Any, tmp_path: Path
) -> None:
    ranker.save(tmp_path / "m")
    with pytest.raises(WeightsError, match=r"got encoders 'hash-text'; allowed: 'hash-text\+hash-image'"):
        WholePageRanker.load(tmp_path / "m", ResultVectors(texts()))
    with pytest.raises(WeightsError):
        WholePageRanker.load(tmp_path / "m", ResultVectors(texts(dim=12), images(dim=12)))
    with pytest.raises(WeightsError, match="got a model of kind 'whole-page'; allowed: 'tower'"):
        TowerScorer.load(tmp_path / "m", vectors)
    with pytest.raises(WeightsError, match="got a model of kind 'tower'; allowed: 'whole-page'"):
        WholePageRanker.load(tmp_path / "m" / "single-text", vectors)


@pytest.mark.parametrize("name", ["arrays.safetensors", "single-text/arrays.safetensors", "single-image/manifest.json"])
def test_a_damaged_file_is_refused(name: str, ranker: WholePageRanker, vectors: ResultVectors, tmp_path: Path) -> None:
    ranker.save(tmp_path / "m")
    path = tmp_path / "m" / name
    data = path.read_bytes()
    path.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])
    with pytest.raises(WeightsError, match="got sha256"):
        WholePageRanker.load(tmp_path / "m", vectors)
    path.unlink()
    with pytest.raises(WeightsError, match="No such file"):
        WholePageRanker.load(tmp_path / "m", vectors)


def narrow_head(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    arrays["1.numbers.weight"] = arrays["1.numbers.weight"][:, 1:]


def other_head(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    config["sizes"]["layers"] = 3


def other_columns(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    config["numbers"].append("age")


def odd_heads(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    config["sizes"]["heads"] = 3


def no_heads(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    config["heads"] = 0


def no_known(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    del config["known"]


def odd_missing(arrays: dict[str, Any], config: dict[str, Any]) -> None:
    config["missing"] = "first"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (narrow_head, r"got tensors \[\('numbers.weight', \(16, 24\)\)\]"),
        (other_head, r"got tensors \[\('blocks.2"),
        (other_columns, "got .*'numbers', "),
        (odd_heads, "got width 16 for 3 heads"),
        (no_heads, "got no head"),
        (no_known, "KeyError: 'known'"),
        (odd_missing, "missing='first'"),
    ],
)
def test_a_folder_that_does_not_fit_itself_is_refused(
    change: Any, said: str, ranker: WholePageRanker, vectors: ResultVectors, tmp_path: Path
) -> None:
    ranker.save(tmp_path / "good")
    config, arrays = load_model(tmp_path / "good", "whole-page")
    change(arrays, config)
    upstream = ranker.featurizer.upstream
    assert isinstance(upstream, SingleModal)
    kept = {"single-text": upstream.scorers[TEXT], "single-image": upstream.scorers[IMAGE]}
    children = {name: tower.save for name, tower in kept.items() if isinstance(tower, TowerScorer)}
    save_model(tmp_path / "m", "whole-page", config, arrays, children=children)
    with pytest.raises(WeightsError, match=said):
        WholePageRanker.load(tmp_path / "m", vectors)
