"""Rankers that look: picture encoders, and a scorer in a space shared by words and pictures (``ocr`` reads).

Every class opens its library when it is made, so that this module imports without torch.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wholepage.pages.errors import ImageError, ShapeError, WeightsError, require, shorten
from wholepage.pages.images import open_image
from wholepage.pages.model import ImageRef, Page, Query
from wholepage.rankers.encoders import ImageEncoder, TextEncoder
from wholepage.rankers.text import unit_rows
from wholepage.rankers.weights import fingerprint, pretrained_source, unloadable

_HOG_SIDE = 64
_HOG_NUMBERS = 324  # 3 x 3 blocks of 2 x 2 cells of 9 directions
_COLOUR_SIDE = 96
_GRID = 3
_HUES, _GREYS = 12, 4
_MOBILENET_SIDE = 224


class OpenPicture(Protocol):
    """How a picture is opened: ``pages.images.open_image``, or a ``partial`` of it with other limits."""

    def __call__(self, ref: ImageRef, *, at: str = "") -> Image.Image: ...


class PixelDescriptor:
    """An ImageEncoder without weights: edges (HOG of 64 x 64 grey) and colours in a 3 x 3 grid.

    Three parts, each of length 1 (or 0 where there is nothing, such as edges of a plain picture): HOG; per cell a
    histogram of 12 hues weighted by saturation and 4 greys weighted by its absence, square roots taken; per cell mean
    and spread in Lab. The whole row has length 1 at most.
    """

    name = "pixels-v1"
    dim = _HOG_NUMBERS + _GRID * _GRID * (_HUES + _GREYS + 6)

    def __init__(self, *, open_picture: OpenPicture = open_image) -> None:
        self._feature: Any = require("skimage.feature", "image")
        self._color: Any = require("skimage.color", "image")
        self._open = open_picture

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        """Rows ``[len(refs), dim]``.

        Raises:
            ImageError: a picture cannot be read.
        """
        rows = np.zeros((len(refs), self.dim), dtype=np.float32)
        for i, ref in enumerate(refs):
            rows[i] = self._describe(self._open(ref, at=f"images[{i}]"))
        return rows

    def _describe(self, picture: Image.Image) -> NDArray[np.float64]:
        box = Image.Resampling.BOX  # area means: the same picture at another size gives nearly the same row
        grey = np.asarray(picture.convert("L").resize((_HOG_SIDE, _HOG_SIDE), box), dtype=np.float64) / 255
        hog = self._feature.hog(grey, orientations=9, pixels_per_cell=(16, 16), cells_per_block=(2, 2))
        small = np.asarray(picture.convert("RGB").resize((_COLOUR_SIDE, _COLOUR_SIDE), box), dtype=np.float64) / 255
        cells = list(zip(_cells(self._color.rgb2hsv(small)), _cells(self._color.rgb2lab(small)), strict=True))
        colours = np.sqrt(np.concatenate([_hue_histogram(hsv) for hsv, _ in cells]))
        moments = np.concatenate([np.concatenate([lab.mean(axis=0), lab.std(axis=0)]) for _, lab in cells])
        parts = np.concatenate([unit_rows(part) for part in (hog, colours, moments)])
        return np.asarray(parts / np.sqrt(3))


class MobileNetEncoder:
    """An ImageEncoder on a quantised MobileNet embedding extractor, run by LiteRT on the CPU.

    Pictures are resized (not cropped) to 224 x 224; the output is dequantised.

    Args:
        weights: a .tflite file with input ``[1, 224, 224, 3]`` uint8 and one output of ``dim`` numbers.
        dim: how many numbers the network puts out.
    Raises:
        MissingExtra: ai-edge-litert is not installed.
        WeightsError: the file is missing, cannot be read, or has other inputs and outputs.
    """

    def __init__(self, weights: Path | str, *, dim: int = 1024, open_picture: OpenPicture = open_image) -> None:
        interpreter = require("ai_edge_litert.interpreter", "image")
        path = Path(weights)
        if not path.is_file():
            raise WeightsError(f"{path}: got no such file; allowed: a .tflite embedding extractor; check the path")
        content = path.read_bytes()
        try:
            self._net: Any = interpreter.Interpreter(model_content=content, num_threads=1)
            self._net.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise WeightsError(f"{path}: got {error}; allowed: a TFLite network; download it again") from error
        inputs, outputs = self._net.get_input_details(), self._net.get_output_details()
        found = [(tuple(int(n) for n in t["shape"]), np.dtype(t["dtype"]).name) for t in (*inputs, *outputs)]
        wanted = (1, _MOBILENET_SIDE, _MOBILENET_SIDE, 3)
        if len(found) != 2 or found[0] != (wanted, "uint8") or found[1][0][-1] != dim or np.prod(found[1][0]) != dim:
            raise WeightsError(
                f"{path}: got tensors {found}; allowed: input {wanted} uint8 and one output of {dim} numbers; "
                "use an embedding extractor, or say its dim"
            )
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self._scale, self._zero = outputs[0]["quantization"]
        self._open, self.dim = open_picture, dim
        self.name = f"mobilenet@{hashlib.sha256(content).hexdigest()[:12]}"
        self._lock = threading.Lock()  # an interpreter holds the one input buffer

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        """Rows ``[len(refs), dim]``.

        Raises:
            ImageError: a picture cannot be read.
        """
        rows = np.zeros((len(refs), self.dim), dtype=np.float32)
        side = (_MOBILENET_SIDE, _MOBILENET_SIDE)
        for i, ref in enumerate(refs):
            picture = self._open(ref, at=f"images[{i}]").convert("RGB").resize(side, Image.Resampling.BICUBIC)
            with self._lock:
                self._net.set_tensor(self._input, np.asarray(picture, dtype=np.uint8)[None])
                self._net.invoke()
                raw = self._net.get_tensor(self._output).reshape(-1).astype(np.float32)
            rows[i] = (raw - self._zero) * self._scale if self._scale else raw
        return rows


class DualEncoder:
    """A TextEncoder and ImageEncoder in one space: CLIP, SigLIP and their kind, through transformers.

    Pictures are prepared with PIL (torchvision is not needed). Rows have length 1.

    Args:
        model: a folder or hub id.
        device: a torch device.
        batch_size: texts or pictures a forward pass.
        local_files_only: never ask the network, even for a hub id.
    Raises:
        MissingExtra: transformers or torch is not installed.
        WeightsError: the model cannot be found, reached or read, lacks weights, or has not both towers.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        device: str = "cpu",
        batch_size: int = 16,
        open_picture: OpenPicture = open_image,
        local_files_only: bool = False,
    ) -> None:
        transformers, self._torch = require("transformers", "text"), require("torch", "text")
        source, only = pretrained_source(model), {"local_files_only": local_files_only}
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(source, **only)
            self._processor: Any = transformers.AutoImageProcessor.from_pretrained(source, backend="pil", **only)
            loaded, info = transformers.AutoModel.from_pretrained(source, output_loading_info=True, **only)
        except (OSError, ValueError) as error:
            raise unloadable(model, error) from error
        lost = sorted(info["missing_keys"])
        if lost or not (hasattr(loaded, "get_text_features") and hasattr(loaded, "get_image_features")):
            raise WeightsError(
                f"model {str(model)!r}: got {type(loaded).__name__} without weights for {lost[:5]}; allowed: a dual "
                "encoder (CLIP, SigLIP) with all its weights; use another checkpoint"
            )
        self._model: Any = loaded.to(device).eval()
        self._device, self._open, self.batch_size = device, open_picture, batch_size
        self._max_tokens = int(loaded.config.text_config.max_position_embeddings)
        # SigLIP was trained on texts padded to full length, and pools its last position
        self._padding: str | bool = "max_length" if loaded.config.model_type == "siglip" else True
        self.name = f"{Path(model).name}@{fingerprint(loaded.state_dict())}"
        self.dim = int(self.encode_texts(["a"]).shape[1])

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Rows ``[len(texts), dim]`` of length 1; longer texts are cut at what the model reads."""
        order = sorted(range(len(texts)), key=lambda i: (len(texts[i]), i))  # little padding
        rows = np.zeros((len(texts), 0 if texts else self.dim), dtype=np.float32)
        for start in range(0, len(order), self.batch_size):
            part = order[start : start + self.batch_size]
            tokens = self._tokenizer(
                [texts[i] for i in part],
                padding=self._padding,
                truncation=True,
                max_length=self._max_tokens,
                return_tensors="pt",
            )
            vectors = self._run(self._model.get_text_features, tokens)
            rows = rows if rows.shape[1] else np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
            rows[part] = vectors
        return rows

    def encode_images(self, refs: Sequence[ImageRef]) -> NDArray[np.float32]:
        """Rows ``[len(refs), dim]`` of length 1.

        Raises:
            ImageError: a picture cannot be read.
        """
        rows = np.zeros((len(refs), self.dim), dtype=np.float32)
        for start in range(0, len(refs), self.batch_size):
            part = refs[start : start + self.batch_size]
            pictures = [self._open(ref, at=f"images[{start + i}]") for i, ref in enumerate(part)]
            pixels = self._processor(images=pictures, return_tensors="pt")
            rows[start : start + len(part)] = self._run(self._model.get_image_features, pixels)
        return rows

    def _run(self, features: Any, inputs: Any) -> NDArray[np.float32]:
        with self._torch.inference_mode():
            pooled = features(**inputs.to(self._device))
        tensor = pooled if isinstance(pooled, self._torch.Tensor) else pooled.pooler_output
        return unit_rows(tensor.float().cpu().numpy()).astype(np.float32)


class DualEncoderScorer:
    """Scores what has pictures by the cosine of the query's vector and the pictures' (a video: the mean of its frames).

    The query's vector is that of its text, or of its picture when it has no text. NaN where the result has no
    picture, or the query has neither.

    Args:
        texts, images: two encoders of one space, best cached ones of the same DualEncoder.
    Raises:
        ShapeError: the encoders give vectors of different sizes.
    """

    def __init__(self, texts: TextEncoder, images: ImageEncoder) -> None:
        if texts.dim != images.dim:
            raise ShapeError(
                f"dual encoder: got {texts.dim} numbers from {texts.name!r} and {images.dim} from {images.name!r}; "
                "allowed: one space; pass the two sides of one model"
            )
        self.texts, self.images = texts, images

    @property
    def name(self) -> str:
        return f"dual-encoder({self.images.name})"

    def score(self, pages: Sequence[Page]) -> list[NDArray[np.float32]]:
        """Cosines ``[len(page)]`` a page.

        Raises:
            ImageError: a picture cannot be read; names the query, and the result's index and id.
        """
        asked = list(dict.fromkeys(page.query.text for page in pages if page.query.text.strip()))
        text_rows = dict(zip(asked, unit_rows(self.texts.encode_texts(asked)), strict=True))
        places = _places(pages)
        refs = list(places)
        try:
            pictures = dict(zip(refs, unit_rows(self.images.encode_images(refs)), strict=True))
        except ImageError as error:
            raise _placed(error, places) from error
        return [self._score(page, text_rows, pictures) for page in pages]

    def _score(
        self, page: Page, texts: dict[str, NDArray[np.float64]], pictures: dict[ImageRef, NDArray[np.float64]]
    ) -> NDArray[np.float32]:
        scores = np.full(len(page), np.nan, dtype=np.float32)
        query = _query_vector(page.query, texts, pictures)
        for i, result in enumerate(page.results):
            if query is not None and result.images:
                frames = np.stack([pictures[ref] for ref in result.images])
                scores[i] = unit_rows(frames.mean(axis=0)) @ query
        return scores


def _cells(pixels: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    side = pixels.shape[0] // _GRID
    return [
        pixels[y * side : (y + 1) * side, x * side : (x + 1) * side].reshape(-1, 3)
        for y in range(_GRID)
        for x in range(_GRID)
    ]


def _hue_histogram(hsv: NDArray[np.float64]) -> NDArray[np.float64]:
    hue, colourful, value = hsv[:, 0], hsv[:, 1] * hsv[:, 2], hsv[:, 2]
    hues = np.histogram(hue % 1.0, bins=_HUES, range=(0, 1), weights=colourful)[0]
    greys = np.histogram(value, bins=_GREYS, range=(0, 1), weights=1 - colourful)[0]
    return np.concatenate([hues, greys]) / len(hsv)


def _query_vector(
    query: Query, texts: dict[str, NDArray[np.float64]], pictures: dict[ImageRef, NDArray[np.float64]]
) -> NDArray[np.float64] | None:
    if query.text in texts:
        return texts[query.text]
    return pictures[query.image] if query.image is not None else None


def _places(pages: Sequence[Page]) -> dict[ImageRef, str]:
    """Every picture that is needed, once, and where it stands first."""
    places: dict[ImageRef, str] = {}
    for page in pages:
        if page.query.image is not None and not page.query.text.strip():
            places.setdefault(page.query.image, f"query {page.query_id!r}: its image")
        for i, result in enumerate(page.results):
            for ref in result.images:
                places.setdefault(ref, f"query {page.query_id!r}: results[{i}] {result.result_id!r}")
    return places


def _placed(error: ImageError, places: dict[ImageRef, str]) -> ImageError:
    at = next((place for ref, place in places.items() if shorten(ref.uri) == error.uri), error.at)
    return ImageError(error.uri, error.reason, str(error).partition(f" is {error.reason}: ")[2], at=at)
