"""``wholepage train``: single-modal rankers, and the whole pipeline from one recipe file."""

from __future__ import annotations

import json
import string
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertModel, BertTokenizerFast
from typer.testing import CliRunner, Result

import wholepage
from wholepage.apps.cli import app
from wholepage.apps.resolve import single_modal
from wholepage.pages.errors import NoRanker
from wholepage.pages.model import Modality
from wholepage.pages.records import read_pages, read_rankings, write_judgments, write_pages
from wholepage.rankers.nested import SingleModalRanker
from wholepage.rankers.tower import TowerScorer
from wholepage.rankers.whole_page import WholePageRanker

ROOT = Path(__file__).parents[2]
TOWER = "folds = 2\nloop = { epochs = 1 }\nteacher_loop = { epochs = 1 }\n"
TOWERS = "".join(f"[single.{modality}]\n{TOWER}" for modality in ("text", "image", "video", "answer"))
TINY = f"{TOWERS}[smar]\nmembers = 2\nkeep = 16\nloop = {{ epochs = 1 }}\n"


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args], env={"COLUMNS": "200", "WHOLEPAGE_DATA": ""})


def recipe(folder: Path, *tables: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "recipe.toml"
    path.write_text("\n".join([TINY, *tables]), encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHOLEPAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(
            "os.cpu_count", lambda: 1
        )  # one worker, in this process: starting more takes longer than training
        yield


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    world = wholepage.open_collection("synthetic", queries=24, seed=5)
    for split in ("train", "dev"):
        write_pages(folder / f"{split}.pages.jsonl", world.pages(split))
        write_judgments(folder / f"{split}.judgments.jsonl", world.judgments(split))
    return folder


DATA = '[data]\npages = "own"\n[encoders]\nimage = "none"\n'


@pytest.fixture(scope="module")
def beside(own: Path) -> Path:
    """A folder whose recipes can say ``own`` for the pages."""
    (own / "own").symlink_to(own)
    return own


# --- one modality -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def texts(beside: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("texts") / "model"
    said = run("train", "text", recipe(beside, DATA), "--out", out, "--json")
    assert said.exit_code == 0, said.output
    facts = json.loads(said.stdout)
    pages = list(read_pages(beside / "train.pages.jsonl"))
    assert facts["labels"] == sum(len(page.only(Modality.TEXT)) for page in pages)
    assert (facts["kind"], facts["modality"], facts["config"]["folds"]) == ("tower", "text", 2)
    assert [path.name for path in out.parent.iterdir()] == ["model"]  # no checkpoints left
    return out


def test_a_trained_ranker_of_texts_ranks_texts(texts: Path, own: Path, tmp_path: Path) -> None:
    ranked = run("rank", own / "dev.pages.jsonl", "--model", texts, "--only", "text", "-o", tmp_path / "r.jsonl")
    assert ranked.exit_code == 0, ranked.output
    assert "ranked by tower-text" in ranked.stderr
    for page, ranking in zip(read_pages(own / "dev.pages.jsonl"), read_rankings(tmp_path / "r.jsonl"), strict=True):
        ranking.check(page.only(Modality.TEXT))


def test_mixed_pages_are_refused_by_name(texts: Path, own: Path) -> None:
    ranked = run("rank", own / "dev.pages.jsonl", "--model", texts)
    assert ranked.exit_code == 5
    assert "got a 'image' result; allowed: ['text', 'answer'], for it ranks one modality" in ranked.stderr
    ranker = wholepage.load(texts)
    assert isinstance(ranker, SingleModalRanker)
    with pytest.raises(NoRanker):
        ranker.rank(list(read_pages(own / "dev.pages.jsonl")))
    assert isinstance(single_modal(texts), TowerScorer)
    assert wholepage.rerank("red shoe", ["red shoe", "tax law"], model=texts).ranker == "tower-text"
    with pytest.raises(NoRanker, match="'image'"):
        wholepage.rerank("red shoe", [Image.new("RGB", (40, 40))], model=texts)


def test_what_one_modality_cannot_do(beside: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    kept = recipe(tmp_path / "a", f'[data]\npages = "{beside}"\n')
    assert run("train", "text", kept).exit_code == 5  # no [out], no --out
    assert run("train", "text", beside / "train.pages.jsonl").exit_code == 2  # and no recipe at all
    write_pages(
        tmp_path / "dev.pages.jsonl", [page.only(Modality.TEXT) for page in read_pages(beside / "dev.pages.jsonl")]
    )
    (tmp_path / "dev.judgments.jsonl").symlink_to(beside / "dev.judgments.jsonl")
    none = run("train", "video", tmp_path, "--split", "dev", "--out", out)
    assert none.exit_code == 5
    assert "0 of which hold video results" in none.stderr
    assert run("train", "text", kept, "--start", "minilm", "--out", out).exit_code == 5
    done = recipe(tmp_path / "b", f'[data]\npages = "{beside}"\n[single.answer]\nkind = "model"\nfolder = "x"\n')
    assert run("train", "answer", done, "--out", out).exit_code == 5
    assert not out.exists()


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random transformer that reads letters."""
    folder = tmp_path_factory.mktemp("bert")
    letters = [*string.ascii_lowercase, *string.digits]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_a_cross_encoder_of_texts(beside: Path, bert: Path, tmp_path: Path) -> None:
    kind = f'[single.text]\nkind = "cross-encoder"\nmodel = "{bert}"\nmax_tokens = 64\nloop = {{ epochs = 1 }}\n'
    path = recipe(tmp_path, DATA.replace("own", str(beside)))
    path.write_text(path.read_text(encoding="utf-8").replace(f"[single.text]\n{TOWER}", kind), encoding="utf-8")
    said = run("train", "text", path, "--out", tmp_path / "text", "--json")
    assert said.exit_code == 0, said.output
    facts = json.loads(said.stdout)
    assert (facts["kind"], facts["config"]["folds"]) == ("cross-encoder", 2)
    assert 0 < facts["truncated"] <= facts["labels"]
    assert f"{facts['truncated']} labelled results were longer than the ranker reads" in said.stderr
    ranked = run("rank", beside / "dev.pages.jsonl", "--model", tmp_path / "text", "--only", "text")
    assert ranked.exit_code == 0, ranked.output
    assert "ranked by cross-encoder-text" in ranked.stderr
    assert "results were longer than the ranker reads" in ranked.stderr
    started = run("train", "text", beside, "--kind", "cross-encoder", "--start", tmp_path / "gone", "--out", "x")
    assert started.exit_code == 6
    assert "no such folder" in started.stderr
    whole = run("train", "smar", path, "--out", tmp_path / "page", "--json")
    assert whole.exit_code == 0, whole.output
    facts = json.loads(whole.stdout)
    assert facts["truncated"]["text"] > 0
    assert facts["single"]["text"]["model"] == bert.name
    assert (tmp_path / "page" / "single-text" / "0" / "model.safetensors").is_file()
    assert run("rank", beside / "dev.pages.jsonl", "--model", tmp_path / "page").exit_code == 0


# --- the whole pipeline -----------------------------------------------------------------------------------------------


def test_the_synthetic_recipe_runs(tmp_path: Path) -> None:
    """The one that ships, with less of everything."""
    text = (ROOT / "recipes" / "smar_synthetic_cpu.toml").read_text(encoding="utf-8")
    for old, new in (
        ("queries = 400", "queries = 20"),
        ('kind = "tower"', f'kind = "tower"\n{TOWER}'),
        ("[select]", f"[single.video]\n{TOWER}[single.answer]\n{TOWER}[select]"),
        ("members = 3", "members = 1\nkeep = 16\nloop = { epochs = 1 }"),
        ("share = 0.1", "share = 0.2"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "small.toml").write_text(text, encoding="utf-8")
    said = run("train", "smar", tmp_path / "recipes" / "small.toml", "--json")
    assert said.exit_code == 0, said.output
    facts = json.loads(said.stdout)
    out = tmp_path / "runs" / "smar_synthetic_cpu"
    assert facts["model"] == str(out)
    assert facts["strategy"] == "concentrated(p=0.2)"
    assert facts["single"]["text"]["folds"] == 2
    assert facts["config"]["members"] == 1
    assert str(tmp_path) not in json.dumps({**facts, "model": ""})  # a model does not tell where it was made
    assert isinstance(wholepage.load(out), WholePageRanker)


def test_options_go_before_the_recipe(beside: Path, tmp_path: Path) -> None:
    path = recipe(tmp_path / "r", f'[data]\npages = "{beside}"\n[encoders]\nimage = "pixels"\n[out]\nfolder = "no"\n')
    args = ["--image", "none", "--strategy", "spread", "--share", 0.3, "--seed", 2]
    said = run("train", "smar", path, "--out", tmp_path / "yes", *args, "--json")
    assert said.exit_code == 0, said.output
    facts = json.loads(said.stdout)
    assert (facts["strategy"], facts["image"], facts["seed"]) == ("spread(p=0.3)", None, 2)
    assert facts["config"]["loop"]["seed"] == facts["single"]["text"]["loop"]["seed"] == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r", "yes"]


@pytest.mark.parametrize("strategy", ["anchors(p=0.3)", "active(p=0.5, by=committee, floor=0.25, rounds=2)"])
def test_strategies_that_ask_one_by_one(beside: Path, tmp_path: Path, strategy: str) -> None:
    path = recipe(tmp_path, DATA.replace("own", str(beside)), f'[select]\nstrategy = "{strategy}"\n')
    said = run("train", "smar", path, "--out", tmp_path / "model", "--json")
    assert said.exit_code == 0, said.output
    facts = json.loads(said.stdout)
    total = sum(map(len, read_pages(beside / "train.pages.jsonl")))
    assert 0 < facts["selected"] <= total * (0.3 if "anchors" in strategy else 0.5)
    if "anchors" in strategy:
        assert facts["page_labels"] > facts["selected"]  # inferred grades are learned from, and cost nothing
    entropy = run("train", "smar", path, "--out", tmp_path / "m2", "--strategy", "active(p=0.5, by=entropy)")
    assert entropy.exit_code == 5
    assert "by=committee" in entropy.stderr


def test_a_ranker_trained_before_a_calibration_and_a_small_copy(texts: Path, own: Path, tmp_path: Path) -> None:
    tables = DATA.replace("own", str(own)) + "[select]\nshare = 1.0\n[calibrate]\nfolds = 2\n[distill]\nwidth = 8\n"
    path = recipe(tmp_path, tables + "loop = { epochs = 1 }\n")
    text = path.read_text(encoding="utf-8").replace(
        f"[single.text]\n{TOWER}", f'[single.text]\nkind = "model"\nfolder = "{texts}"\n'
    )
    text = text.replace("keep = 16\nloop = { epochs = 1 }", "keep = 16\nloop = { epochs = 20, batch_size = 4 }")
    path.write_text(text, encoding="utf-8")
    said = run("train", "smar", path, "--out", tmp_path / "model", "--json")
    assert said.exit_code == 0, said.output
    facts = json.loads(said.stdout)
    assert facts["single"]["text"] == {"kind": "model"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "model-small", "recipe.toml"]
    big, small = wholepage.load(tmp_path / "model"), wholepage.load(tmp_path / "model-small")
    assert isinstance(big, WholePageRanker)
    assert isinstance(small, WholePageRanker)
    pages = list(read_pages(own / "dev.pages.jsonl"))
    assert all(((p > 0) & (p < 1)).all() for p in big.probabilities(pages))
    assert len(small.heads) == 1
    assert [r.check(p).by for r, p in zip(small.rank(pages), pages, strict=True)] == ["smar-small"] * len(pages)


def test_broken_recipes_end_with_their_own_words(tmp_path: Path) -> None:
    path = recipe(tmp_path, '[data]\ncollection = "synthetic"\nquerys = 3')
    said = run("train", "smar", path, "--out", tmp_path / "model")
    assert said.exit_code == 5
    assert f"{path}: data.querys: got an unknown field; allowed: collection, pages" in said.stderr
    assert run("train", "smar", tmp_path / "none.toml").exit_code == 4
