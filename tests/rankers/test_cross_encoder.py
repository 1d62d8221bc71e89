"""Trained cross-encoders as model folders: scored, saved and loaded without a single training step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from wholepage.pages.errors import InputError, NoRanker, WeightsError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.rankers.cross_encoder import PairReader, TrainedCrossEncoder, open_pretrained, pair_scores
from wholepage.rankers.text import CrossEncoderScorer

TEXT, IMAGE, ANSWER = Modality.TEXT, Modality.IMAGE, Modality.ANSWER
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "fox", "tree", "jumps", "over", "the"]


def page(query: str, *texts: str, modality: Modality = TEXT) -> Page:
    seen = (ImageRef("x.png"),)
    results = (Result(f"r{i}", modality, t, seen if modality is IMAGE or not t else ()) for i, t in enumerate(texts))
    return Page(Query("q", query), tuple(results))


PAGES = [
    page("red fox", "the fox jumps", "", "red tree over the blue tree over the fox", "blue"),
    page("blue tree", "tree", "red " * 40),
    page("nothing"),
]


def bert(seed: int) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=1,
        initializer_range=0.5,
    )
    return BertForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> PairReader:
    words = tmp_path_factory.mktemp("words") / "vocab.txt"
    words.write_text("\n".join(WORDS))
    return PairReader(BertTokenizerFast(vocab=str(words)), 24)


@pytest.fixture(scope="module")
def scorer(reader: PairReader) -> TrainedCrossEncoder:
    return TrainedCrossEncoder(TEXT, reader, [bert(0), bert(1)], also=[ANSWER], device="cpu")


@pytest.fixture(scope="module")
def saved(scorer: TrainedCrossEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    scorer.save(folder)
    return folder


def test_each_member_is_what_sentence_transformers_makes_of_its_folder(
    scorer: TrainedCrossEncoder, saved: Path
) -> None:
    """Another library reads the folders, cuts long texts at the same place, and gives the same logits."""
    members = [CrossEncoderScorer(saved / str(index), device="cpu").score(PAGES) for index in (0, 1)]
    for found, *each in zip(scorer.score(PAGES), *members, strict=True):
        np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-5)
        assert found.dtype == np.float32
    assert np.isnan(scorer.score(PAGES)[0]).tolist() == [False, True, False, False]
    assert scorer.score(PAGES)[2].shape == (0,)


@pytest.mark.parametrize("size", [1, 2, 64])
def test_a_score_depends_on_no_neighbour(scorer: TrainedCrossEncoder, reader: PairReader, size: int) -> None:
    other = TrainedCrossEncoder(TEXT, reader, scorer.members, batch_size=size, device="cpu")
    for wanted, found in zip(scorer.score(PAGES), other.score(PAGES), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    for wanted, found in zip(scorer.score(PAGES), scorer.score(PAGES[::-1])[::-1], strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    turned = Page(PAGES[0].query, PAGES[0].results[::-1])
    np.testing.assert_allclose(scorer.score([turned])[0][::-1], scorer.score(PAGES)[0], atol=1e-5)
    assert pair_scores(scorer.members[0], [], 0).shape == (0,)


def test_saved_and_loaded_scores_are_the_same(scorer: TrainedCrossEncoder, saved: Path) -> None:
    loaded = TrainedCrossEncoder.load(saved, device="cpu")
    assert (loaded.modality, loaded.also, loaded.name) == (TEXT, (ANSWER,), "cross-encoder-text")
    assert loaded.reader.max_tokens == 24
    for ours, theirs in zip(scorer.members, loaded.members, strict=True):
        kept = theirs.state_dict()
        assert all(torch.equal(tensor, kept[name]) for name, tensor in ours.state_dict().items())
    # The same weights at another place in memory: kernels may then sum in another order, by one unit in the last place.
    for wanted, found in zip(scorer.score(PAGES), loaded.score(PAGES), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert (saved / "0" / "model.safetensors").is_file()
    assert "_name_or_path" not in json.loads((saved / "0" / "config.json").read_text())


def test_a_saved_folder_does_not_depend_on_where_it_lies(
    scorer: TrainedCrossEncoder, saved: Path, tmp_path: Path
) -> None:
    scorer.save(tmp_path / "elsewhere")
    TrainedCrossEncoder.load(saved, device="cpu").save(tmp_path / "again")
    for name in ("elsewhere", "again"):
        assert (tmp_path / name / "manifest.json").read_bytes() == (saved / "manifest.json").read_bytes()


def test_other_modalities_are_refused(scorer: TrainedCrossEncoder) -> None:
    answers = page("red fox", "the fox jumps", modality=ANSWER)
    np.testing.assert_allclose(scorer.score([answers])[0], scorer.score(PAGES)[0][:1], atol=1e-5)
    with pytest.raises(NoRanker, match=r"got a 'image' result; allowed: \['text', 'answer'\].*page\.only"):
        scorer.score([page("red fox", "fox", modality=IMAGE)])


def test_cut_pairs_are_counted(reader: PairReader) -> None:
    before = reader.truncated
    fits, cut = ("red", "fox " * 20), ("red", "fox " * 21)  # [CLS] red [SEP] ... [SEP]
    short, long = reader.read([fits, cut])
    assert reader.truncated == before + 1
    assert {len(tokens["input_ids"]) for tokens in (short, long)} == {24}
    for name in short:
        np.testing.assert_array_equal(short[name], long[name])
    assert reader.read([]) == []


def test_damaged_folders_are_refused(saved: Path, tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(saved, tmp_path / name))

    changed = copy("changed") / "1" / "model.safetensors"
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(WeightsError, match=r"1/model\.safetensors.*the file changed"):
        TrainedCrossEncoder.load(tmp_path / "changed")
    (copy("gone") / "0" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"0/config\.json"):
        TrainedCrossEncoder.load(tmp_path / "gone")
    manifest = copy("odd") / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"modality": "text"', '"modality": "smell"'))
    with pytest.raises(WeightsError, match="settings that cannot be used"):
        TrainedCrossEncoder.load(tmp_path / "odd")
    manifest.write_text(manifest.read_text().replace('"kind": "cross-encoder"', '"kind": "tower"'))
    with pytest.raises(WeightsError, match="kind 'tower'; allowed: 'cross-encoder'"):
        TrainedCrossEncoder.load(tmp_path / "odd")


def test_what_cannot_be_a_ranker(reader: PairReader, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got no member"):
        TrainedCrossEncoder(TEXT, reader, [])
    broken = bert(2)
    with torch.no_grad():
        broken.classifier.bias.fill_(float("nan"))
    with pytest.raises(WeightsError, match=r"'classifier\.bias': got numbers that are not finite"):
        TrainedCrossEncoder(TEXT, reader, [broken], device="cpu").save(tmp_path / "broken")
    assert not (tmp_path / "broken").exists()
    mute = BertTokenizerFast(vocab={word: i for i, word in enumerate(WORDS)}, pad_token=None)
    with pytest.raises(WeightsError, match="got none for padding"):
        PairReader(mute, 24)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="cannot be loaded"):
        open_pretrained(tmp_path / "empty", 24)
