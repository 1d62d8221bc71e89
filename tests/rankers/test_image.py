from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from wholepage.pages.errors import ImageError, ShapeError, WeightsError
from wholepage.pages.model import ImageRef, Modality, Page, Query, Result
from wholepage.pages.protocols import Scorer
from wholepage.rankers.encoders import ImageEncoder, TextEncoder
from wholepage.rankers.image import DualEncoder, DualEncoderScorer, MobileNetEncoder, PixelDescriptor

DATA = Path(os.environ.get("WHOLEPAGE_DATA", Path(__file__).parents[3] / "shared" / "data"))
EXTRACTOR = DATA / "weights" / "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite"
CLASSIFIER = DATA / "weights" / "mobilenet_v2_1.0_224_quant.tflite"


def keep(folder: Path, name: str, pixels: NDArray[np.integer] | Image.Image) -> ImageRef:
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels.astype(np.uint8))
    picture.save(folder / name)
    return ImageRef(str(folder / name))


def stripes(across: bool, width: int, ink: Sequence[int]) -> NDArray[np.uint8]:
    on = (np.arange(96) // width % 2).astype(bool)
    pixels = np.full((96, 96, 3), 255, dtype=np.uint8)
    pixels[on] = ink
    return pixels if across else pixels.transpose(1, 0, 2)


# ------------------------------------------------------------------ pixels


def test_pixels_tell_colours_and_edges_apart(tmp_path: Path) -> None:
    encoder = PixelDescriptor()
    assert isinstance(encoder, ImageEncoder)
    refs = [
        keep(tmp_path, "a.png", stripes(True, 12, (200, 0, 0))),
        keep(tmp_path, "b.png", stripes(True, 12, (215, 10, 10))),  # nearly the same red
        keep(tmp_path, "c.png", stripes(True, 12, (0, 0, 200))),  # another colour
        keep(tmp_path, "d.png", stripes(False, 12, (200, 0, 0))),  # another direction
        keep(tmp_path, "e.png", Image.fromarray(stripes(True, 12, (200, 0, 0))).resize((240, 240), 0)),
    ]
    rows = encoder.encode_images(refs)
    assert rows.shape == (5, encoder.dim)
    assert rows.dtype == np.float32
    likeness = rows @ rows.T
    np.testing.assert_allclose(np.diag(likeness), 1, atol=1e-5)
    assert likeness[0, 1] > 0.97
    assert likeness[0, 1] > max(likeness[0, 2], likeness[0, 3]) + 0.1
    assert likeness[0, 4] > 0.99  # size does not matter
    np.testing.assert_array_equal(encoder.encode_images(refs[::-1]), rows[::-1])


def test_pixels_see_where_a_colour_is(tmp_path: Path) -> None:
    left = np.full((90, 90, 3), 255, dtype=np.uint8)
    left[:, :30] = (200, 0, 0)
    refs = [keep(tmp_path, "l.png", left), keep(tmp_path, "r.png", left[:, ::-1])]
    rows = PixelDescriptor().encode_images(refs)
    hues = rows[:, 324 : 324 + 9 * 16].reshape(2, 9, 16)
    np.testing.assert_array_equal(hues[:, :, 0] > 0, [[True, False, False] * 3, [False, False, True] * 3])


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_plain_and_tiny_pictures_have_finite_rows(mode: str, tmp_path: Path) -> None:
    refs = [keep(tmp_path, "one.png", Image.new(mode, (1, 1))), keep(tmp_path, "thin.png", Image.new(mode, (300, 2)))]
    rows = PixelDescriptor().encode_images(refs)
    assert np.isfinite(rows).all()
    assert (np.linalg.norm(rows, axis=1) <= 1 + 1e-5).all()
    assert PixelDescriptor().encode_images([]).shape == (0, PixelDescriptor.dim)


def test_pictures_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    good = keep(tmp_path, "a.png", stripes(True, 8, (0, 0, 0)))
    with pytest.raises(ImageError, match=r"images\[1\].*gone\.png"):
        PixelDescriptor().encode_images([good, ImageRef(str(tmp_path / "gone.png"))])


# ------------------------------------------------------------------ mobilenet


@pytest.fixture(scope="module")
def mobilenet() -> MobileNetEncoder:
    if not EXTRACTOR.is_file():
        pytest.skip(f"no {EXTRACTOR.name}: set WHOLEPAGE_DATA to a folder with weights/")
    return MobileNetEncoder(EXTRACTOR)


def test_mobilenet_finds_the_same_products_as_features_made_elsewhere(
    mobilenet: MobileNetEncoder, tmp_path: Path
) -> None:
    features, archive = DATA / "fashion" / "mobilenet_v1_feats.npz", DATA / "fashion_images.zip"
    if not (features.is_file() and archive.is_file()):
        pytest.skip("no fashion pictures: set WHOLEPAGE_DATA")
    kept = np.load(features)
    row_of = {str(i): n for n, i in enumerate(kept["ids"])}
    with zipfile.ZipFile(archive) as pictures:
        names = [name for name in pictures.namelist() if Path(name).stem in row_of][:400:20]
        refs = [keep(tmp_path, f"{i}.png", Image.open(io.BytesIO(pictures.read(name)))) for i, name in enumerate(names)]
    rows = mobilenet.encode_images(refs)
    assert rows.shape == (20, 1024)
    assert isinstance(mobilenet, ImageEncoder)
    other = kept["v1"][[row_of[Path(name).stem] for name in names]].astype(np.float64)
    likeness = np.corrcoef(rows, other)[:20, 20:]
    assert (likeness.argmax(axis=1) == np.arange(20)).mean() >= 0.9  # made from larger photos: alike, not equal
    assert np.diag(likeness).mean() > 0.85


def test_mobilenet_rows_do_not_depend_on_neighbours(mobilenet: MobileNetEncoder, tmp_path: Path) -> None:
    refs = [keep(tmp_path, f"{w}.png", stripes(True, w, (0, 90, 0))) for w in (2, 8, 24)]
    rows = mobilenet.encode_images(refs)
    assert rows.min() >= 0  # behind a ReLU6
    assert rows.max() <= 6.0 + 1e-3
    np.testing.assert_array_equal(mobilenet.encode_images(refs[2:])[0], rows[2])
    assert not np.array_equal(rows[0], rows[2])


def test_other_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        MobileNetEncoder(tmp_path / "gone.tflite")
    (tmp_path / "bad.tflite").write_bytes(b"not a network at all")
    with pytest.raises(WeightsError, match=r"bad\.tflite"):
        MobileNetEncoder(tmp_path / "bad.tflite")
    if not CLASSIFIER.is_file():
        pytest.skip(f"no {CLASSIFIER.name}: set WHOLEPAGE_DATA to a folder with weights/")
    with pytest.raises(WeightsError, match=r"1001.*one output of 1024"):
        MobileNetEncoder(CLASSIFIER)


# ------------------------------------------------------------------ dual encoder


def small_tokenizer() -> PreTrainedTokenizerFast:
    """A BPE tokenizer trained on a few words, ending texts as CLIP does."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=["<unk>", "<start>", "<end>", "<pad>"])
    tokenizer.train_from_iterator(["a red fox and a blue tree", "green trees over the house"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<start> $A <end>", None, [("<start>", 1), ("<end>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<start>", eos_token="<end>", pad_token="<pad>"
    )


def save_clip(folder: Path) -> Path:
    tokenizer = small_tokenizer()
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    ids = {"bos_token_id": 1, "eos_token_id": 9, "pad_token_id": 3}
    ids["eos_token_id"] = tokenizer.convert_tokens_to_ids("<end>")
    config = CLIPConfig(
        text_config={**size, "vocab_size": len(tokenizer), "max_position_embeddings": 12, **ids},
        vision_config={**size, "image_size": 32, "patch_size": 8},
        projection_dim=8,
    )
    model = CLIPModel(config)
    for parameter in model.parameters():  # CLIP's own start is so small that all vectors look alike
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> DualEncoder:
    return DualEncoder(clip_folder, batch_size=2)


def test_dual_encoder_is_both_encoders_in_one_space(clip: DualEncoder, clip_folder: Path, tmp_path: Path) -> None:
    assert isinstance(clip, TextEncoder)
    assert isinstance(clip, ImageEncoder)
    assert clip.dim == 8
    texts = ["a red fox", "tree", "a blue tree over the house", "green " * 40]
    refs = [keep(tmp_path, f"{i}.png", stripes(bool(i % 2), 4 + i, (40 * i, 90, 0))) for i in range(3)]
    rows, looks = clip.encode_texts(texts), clip.encode_images(refs)
    assert (rows.shape, looks.shape) == ((4, 8), (3, 8))
    np.testing.assert_allclose(np.linalg.norm(np.vstack([rows, looks]), axis=1), 1, atol=1e-5)
    wide = DualEncoder(clip_folder, batch_size=16)
    assert wide.name == clip.name
    np.testing.assert_allclose(wide.encode_texts(texts), rows, atol=1e-5)
    np.testing.assert_allclose(wide.encode_images(refs), looks, atol=1e-5)
    np.testing.assert_allclose(clip.encode_texts(texts[:1])[0], rows[0], atol=1e-5)
    assert clip.encode_texts([]).shape == clip.encode_images([]).shape == (0, 8)
    assert abs(rows @ rows.T - np.eye(4)).max() > 1e-3
    assert np.ptp(rows, axis=0).max() > 1e-2


def test_dual_encoder_is_the_model(clip: DualEncoder, clip_folder: Path, tmp_path: Path) -> None:
    ref = keep(tmp_path, "a.png", stripes(True, 6, (10, 90, 200)).repeat(2, axis=1))
    model = CLIPModel.from_pretrained(clip_folder).eval()
    tokens = small_tokenizer()(["a red fox"], return_tensors="pt")
    # CLIP's preparation by hand: shortest side to 32, the middle 32 x 32, the mean and spread it was trained with
    middle = Image.open(ref.uri).convert("RGB").resize((64, 32), Image.Resampling.BICUBIC).crop((16, 0, 48, 32))
    mean, spread = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    pixels = ((np.asarray(middle) / 255 - mean) / spread).transpose(2, 0, 1)[None].astype(np.float32)
    with torch.inference_mode():
        out = model(input_ids=tokens["input_ids"], pixel_values=torch.from_numpy(pixels))
    np.testing.assert_allclose(clip.encode_texts(["a red fox"])[0], out.text_embeds[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(clip.encode_images([ref])[0], out.image_embeds[0].numpy(), atol=1e-3)


def test_models_that_are_no_dual_encoders_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such folder"):
        DualEncoder(tmp_path / "gone")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        DualEncoder("nobody/none", local_files_only=True)
    half = save_clip(tmp_path / "half")
    CLIPModel.from_pretrained(half).text_model.save_pretrained(tmp_path / "tower")
    (tmp_path / "tower" / "config.json").write_bytes((half / "config.json").read_bytes())
    for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        (tmp_path / "tower" / name).write_bytes((half / name).read_bytes())
    with pytest.raises(WeightsError, match="without weights for"):
        DualEncoder(tmp_path / "tower")


class Space:
    """Told vectors for words and pictures; remembers which pictures it saw."""

    name, dim = "space", 2
    words = {"up": (0, 2), "right": (1, 0)}  # noqa: RUF012
    pictures = {"up": (0, 3), "right": (4, 0), "left": (-1, 0)}  # noqa: RUF012

    def __init__(self) -> None:
        self.seen: list[str] = []

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([self.words[t] for t in texts], dtype=np.float32).reshape(-1, 2)

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        for ref in refs:
            if ref.uri not in self.pictures:
                raise ImageError(ref.uri, "missing", "no such file; check the path")
        self.seen.extend(ref.uri for ref in refs)
        return np.array([self.pictures[ref.uri] for ref in refs], dtype=np.float32).reshape(-1, 2)


def looks(query: Query, *results: tuple[str, ...]) -> Page:
    """A page of pictures (one name), videos (several) and texts (none)."""
    kinds = (Modality.TEXT, Modality.IMAGE, Modality.VIDEO)
    return Page(
        query,
        tuple(
            Result(f"r{i}", kinds[min(len(names), 2)], "" if names else "words", tuple(ImageRef(n) for n in names))
            for i, names in enumerate(results)
        ),
    )


def test_dual_scores_are_cosines_with_the_mean_of_frames() -> None:
    space = Space()
    scorer = DualEncoderScorer(space, space)
    assert isinstance(scorer, Scorer)
    assert scorer.name == "dual-encoder(space)"
    by_word = looks(Query("q", "up"), ("up",), ("right",), (), ("up", "right"), ("right", "left"))
    by_picture = looks(Query("p", "", ImageRef("left")), ("right",), ("up",))
    by_nothing = looks(Query("n", ""), ("up",))
    got = scorer.score([by_word, by_picture, by_nothing, looks(Query("e", "up"))])
    np.testing.assert_allclose(got[0], [1, 0, np.nan, np.sqrt(0.5), 0], atol=1e-6)
    np.testing.assert_allclose(got[1], [-1, 0], atol=1e-6)
    assert np.isnan(got[2]).all()
    assert got[3].shape == (0,)
    assert sorted(space.seen) == ["left", "right", "up"]  # each once


def test_dual_scorer_says_where_the_bad_picture_stands() -> None:
    with pytest.raises(ImageError, match=r"^query 'q': results\[1\] 'r1': image 'gone' is missing: no such file"):
        DualEncoderScorer(Space(), Space()).score([looks(Query("q", "up"), ("up",), ("gone",))])


def test_two_spaces_of_different_sizes_are_refused() -> None:
    other = Space()
    other.dim = 3
    with pytest.raises(ShapeError, match=r"2 numbers.*and 3"):
        DualEncoderScorer(Space(), other)
