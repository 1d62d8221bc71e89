"""The pixels of the generated world: a thing becomes a picture, or the frames of a video in which it moves.

Pictures have a palette (64 by 64, one byte a pixel) so that thousands are drawn in seconds and stay small. A pixel is
one of four materials (ground, ink, the pattern's second ink, cover) in one of 16 lights; noise and shading move the
light. There are no letters in any picture.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wholepage.collections.synthetic_world import COUNT, COVER, GROUND, INK, RADIUS_PX, SIDE_PX, Rgb, Thing
from wholepage.pages import ImageRef

_LIGHTS = 16
_LIGHT_STEP = 5  # grey levels between two lights
_GROUND, _INK, _SECOND, _COVER = range(4)
_ACROSS, _DOWN = np.meshgrid(np.arange(SIDE_PX, dtype=np.float32), np.arange(SIDE_PX, dtype=np.float32))
_TURN = 2 * np.pi

Points = NDArray[np.float64]


@dataclass(frozen=True)
class _Scene:
    """One thing, placed: everything about a picture but its noise.

    Shapes:
        centres: [count, 2] x and y in pixels; palette: [4 * 16 * 3] uint8
    """

    thing: Thing
    centres: Points
    radius_px: float
    tilt: float
    pattern_turn: float
    pattern_phase: tuple[float, float]
    palette: NDArray[np.uint8]


def picture(thing: Thing, noise: float, rng: np.random.Generator) -> bytes:
    """The thing as a PNG; place, size, tilt and colours jitter, and now and then something stands in front.

    Args:
        noise: 0 = clean colours, nothing hidden; 1 = the usual.
    """
    return _png(_scene(thing, noise, rng), noise, (0.0, 0.0), 0.0, rng)


def video(thing: Thing, noise: float, rng: np.random.Generator) -> list[bytes]:
    """Three or four PNG frames, in time order, of the thing moving and turning; what hides it changes."""
    scene = _scene(thing, noise, rng)
    frames = int(rng.integers(3, 5))
    way, speed, spin = rng.uniform(0, _TURN), rng.uniform(1.5, 3.0), rng.uniform(-0.15, 0.15)
    times = np.arange(frames) - (frames - 1) / 2
    steps = [(float(t * speed * np.cos(way)), float(t * speed * np.sin(way))) for t in times]
    return [_png(scene, noise, step, float(t * spin), rng) for t, step in zip(times, steps, strict=True)]


def embedded(png: bytes) -> ImageRef:
    """A reference that carries the picture in itself, as a ``data:`` URI."""
    return ImageRef("data:image/png;base64," + base64.b64encode(png).decode("ascii"), hashlib.sha256(png).hexdigest())


def filed(png: bytes, folder: Path, suffix: str = ".png") -> ImageRef:
    """A reference to the picture in a folder, named by its checksum; written there once, whole or not at all."""
    digest = hashlib.sha256(png).hexdigest()
    path = folder / digest[:2] / f"{digest}{suffix}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(png)
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        except OSError:
            Path(partial).unlink(missing_ok=True)
            raise
    return ImageRef(str(path), digest)


def _scene(thing: Thing, noise: float, rng: np.random.Generator) -> _Scene:
    radius = RADIUS_PX[thing["size"]] * rng.uniform(0.92, 1.08)
    ink = _jittered(INK[thing["colour"]], 7 * noise, rng)
    # The second ink is nearly black or nearly white, never another named colour.
    second = ink * 0.25 + 255 * 0.75 if thing["background"] in ("black", "grey") else ink * 0.28
    materials = np.stack(
        [_jittered(GROUND[thing["background"]], 5 * noise, rng), ink, second, np.array(COVER, dtype=np.float64)]
    )
    light = (np.arange(_LIGHTS) - _LIGHTS / 2) * _LIGHT_STEP
    palette = (materials[:, None, :] + light[None, :, None]).clip(0, 255).round().astype(np.uint8).ravel()
    return _Scene(
        thing,
        _centres(COUNT[thing["count"]], radius, rng),
        radius,
        float(rng.uniform(-0.35, 0.35)),
        float(rng.uniform(-0.4, 0.4)),
        (float(rng.random()), float(rng.random())),
        palette,
    )


def _centres(count: int, radius: float, rng: np.random.Generator) -> Points:
    """Things never overlap: one alone stands anywhere, several each in a quarter of their own."""
    if count == 1:
        return rng.uniform(radius + 2, SIDE_PX - radius - 2, size=(1, 2))
    half = SIDE_PX / 2
    quarters = rng.permutation(4)[:count]
    corner = np.stack([quarters % 2, quarters // 2], axis=1) * half
    slack = max(0.0, half / 2 - radius)
    return corner + half / 2 + rng.uniform(-slack, slack, size=(count, 2))


def _png(scene: _Scene, noise: float, step: tuple[float, float], spin: float, rng: np.random.Generator) -> bytes:
    material = np.where(_outline(scene, step, spin), _inks(scene, step), _GROUND)
    if rng.random() < 0.15 * noise:
        _cover(material, rng)
    slope = rng.normal(0, 0.02 * noise, size=2)
    light = slope[0] * (_ACROSS - SIDE_PX / 2) + slope[1] * (_DOWN - SIDE_PX / 2)
    light = light + noise * rng.standard_normal((SIDE_PX, SIDE_PX), dtype=np.float32) + _LIGHTS / 2
    index = material * _LIGHTS + light.round().clip(0, _LIGHTS - 1).astype(np.uint8)
    image = Image.fromarray(index.astype(np.uint8), mode="P")
    image.putpalette(scene.palette.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=4)
    return file.getvalue()


def _cover(material: NDArray[np.integer], rng: np.random.Generator) -> None:
    """Put a bar in front, upright or lying, over about a sixth of the picture."""
    width = int(rng.integers(7, 13))
    start = int(rng.integers(0, SIDE_PX - width))
    if rng.random() < 0.5:
        material[:, start : start + width] = _COVER
    else:
        material[start : start + width, :] = _COVER


def _inks(scene: _Scene, step: tuple[float, float]) -> NDArray[np.uint8]:
    """Which of the two inks would be at each pixel: ``[64, 64]``."""
    pattern = scene.thing["pattern"]
    if pattern == "solid":
        return np.full((SIDE_PX, SIDE_PX), _INK, dtype=np.uint8)
    period = max(4.0, scene.radius_px * (0.62 if pattern == "striped" else 0.7))
    cos, sin = np.cos(scene.pattern_turn), np.sin(scene.pattern_turn)
    across, down = _ACROSS - step[0], _DOWN - step[1]
    u = (across * cos + down * sin) / period + scene.pattern_phase[0]
    v = (down * cos - across * sin) / period + scene.pattern_phase[1]
    if pattern == "striped":
        second = u % 1 < 0.42
    elif pattern == "spotted":
        second = (u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.33**2
    else:
        second = (u % 1 < 0.5) ^ (v % 1 < 0.5)
    return np.where(second, _SECOND, _INK).astype(np.uint8)


def _outline(scene: _Scene, step: tuple[float, float], spin: float) -> NDArray[np.bool_]:
    """True where a thing is: ``[64, 64]``."""
    mask = Image.new("L", (SIDE_PX, SIDE_PX), 0)
    pen = ImageDraw.Draw(mask)
    shape, radius = scene.thing["shape"], scene.radius_px
    tilt = scene.tilt + spin
    for x, y in scene.centres + np.array(step):
        if shape == "circle":
            _disc(pen, x, y, radius, 1)
        elif shape == "ring":
            _disc(pen, x, y, radius, 1)
            _disc(pen, x, y, radius * 0.55, 0)
        elif shape == "crescent":
            _disc(pen, x, y, radius, 1)
            _disc(pen, x + radius * 0.5 * np.cos(tilt), y + radius * 0.5 * np.sin(tilt), radius * 0.8, 0)
        else:
            turned = _turned(_CORNERS[shape], tilt) * radius + (x, y)
            pen.polygon([(float(px), float(py)) for px, py in turned], fill=1)
    return np.asarray(mask) > 0


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: int) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def _turned(points: Points, angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    turned: Points = points @ np.array([[cos, sin], [-sin, cos]])
    return turned


def _jittered(colour: Rgb, spread: float, rng: np.random.Generator) -> NDArray[np.float64]:
    jittered: NDArray[np.float64] = (np.array(colour) + rng.normal(0, spread, size=3)).clip(0, 255)
    return jittered


def _regular(corners: int, radii: tuple[float, ...]) -> Points:
    angles = np.arange(corners) * _TURN / corners - _TURN / 4
    reach = np.resize(np.array(radii), corners)
    return np.stack([reach * np.cos(angles), reach * np.sin(angles)], axis=1)


def _heart() -> Points:
    t = np.linspace(0, _TURN, 24, endpoint=False)
    down = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([16 * np.sin(t) ** 3, down - 2], axis=1) / 16


def _cross(arm: float) -> Points:
    a = arm
    corners = [
        (-a, -1),
        (a, -1),
        (a, -a),
        (1, -a),
        (1, a),
        (a, a),
        (a, 1),
        (-a, 1),
        (-a, a),
        (-1, a),
        (-1, -a),
        (-a, -a),
    ]
    return np.array(corners, dtype=np.float64)


_CORNERS: dict[str, Points] = {
    "square": np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float64) * 0.8,
    "triangle": _regular(3, (1.05,)),
    "star": _regular(10, (1.05, 0.45)),
    "cross": _cross(0.34),
    "heart": _heart(),
}
"""Corners of a thing of radius 1 around the origin: ``[corners, 2]``."""
