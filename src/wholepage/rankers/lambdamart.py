"""LambdaMART (LightGBM) on feature rows: the baseline to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wholepage.pages.errors import InputError, ShapeError, WeightsError, require
from wholepage.rankers.weights import load_file, load_model, save_model

KIND = "lambdamart"
DEFAULT_PARAMS: Mapping[str, float | int | str | bool] = {
    "n_estimators": 200,
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_child_samples": 10,
}
_MODEL_FILE = "model.txt"


class LambdaMart:
    """LightGBM's LambdaMART, made independent of the order of rows within a page and of the number of threads.

    LightGBM's lambdas depend on the order of rows; they are sorted by their content before fitting.

    Args:
        num_threads: of LightGBM.
    Raises:
        MissingExtra: lightgbm is not installed.
    """

    def __init__(self, *, num_threads: int = 1) -> None:
        self._library: Any = require("lightgbm", "train")
        self.num_threads = num_threads
        self._booster: Any = None
        self._settings: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return KIND

    def fit(
        self,
        features: Sequence[NDArray[np.floating]],
        grades: Sequence[NDArray[np.floating]],
        *,
        seed: int,
        params: Mapping[str, float | int | str | bool] | None = None,
    ) -> LambdaMart:
        """Learn from graded rows; rows with grade NaN and pages without any grade are left out.

        Any grades from 0 up are taken as they are, whole or not: the gain of a grade g is 2**g - 1.

        Shapes:
            features: per page [n, d], NaN = unknown value
            grades: per page [n], NaN = nobody looked
        Args:
            seed: of everything random in LightGBM.  params: LightGBM's own, over ``DEFAULT_PARAMS``.
        Returns:
            Itself.
        Raises:
            ShapeError: pages, rows or columns do not agree.
            InputError: no row is graded, or a grade is negative or infinite.
        """
        width = _check_shapes(features, grades)
        kept = [canonical(x[~np.isnan(y)], y[~np.isnan(y)]) for x, y in zip(features, grades, strict=True)]
        kept = [(x, y) for x, y in kept if len(y)]
        if not kept:
            raise InputError(f"LambdaMART: got {len(features)} pages without a grade; allowed: one at least; buy some")
        all_grades = np.concatenate([y for _, y in kept])
        if not np.isfinite(all_grades).all() or all_grades.min() < 0:
            raise InputError(
                "LambdaMART: got a grade that is negative or infinite; allowed: from 0 up; shift the scale"
            )
        levels, codes = np.unique(
            all_grades, return_inverse=True
        )  # LightGBM wants whole labels; gains carry the grades
        chosen = {**DEFAULT_PARAMS, **(params or {})}
        ranker = self._library.LGBMRanker(
            **{
                "objective": "lambdarank",
                "label_gain": [float(2.0**level - 1.0) for level in levels],
                **chosen,
                "random_state": seed,
                "deterministic": True,
                "force_row_wise": True,
                "n_jobs": self.num_threads,
                "verbose": -1,
            }
        )
        ranker.fit(np.concatenate([x for x, _ in kept]), codes, group=[len(y) for _, y in kept])
        self._booster = ranker.booster_
        self._settings = {"features": width, "seed": seed, "params": chosen, "grades": levels.tolist()}
        return self

    def predict(self, features: Sequence[NDArray[np.floating]]) -> list[NDArray[np.float32]]:
        """Scores [n] for each page's [n, d] rows, higher is better; a row's score depends on that row alone.

        Raises:
            InputError: nothing was fitted or loaded.
            ShapeError: the rows are not as wide as those fitted.
        """
        if self._booster is None:
            raise InputError("LambdaMART: got nothing fitted; allowed: after fit or load; call one of them first")
        width = self._settings["features"]
        for i, x in enumerate(features):
            if x.ndim != 2 or x.shape[1] != width:
                raise ShapeError(f"LambdaMART: features[{i}]: got shape {x.shape}; allowed: (n, {width}); as in fit")
        if not sum(len(x) for x in features):
            return [np.zeros(0, dtype=np.float32) for _ in features]
        flat = self._booster.predict(np.concatenate(features), num_threads=self.num_threads)
        cuts = np.cumsum([len(x) for x in features])[:-1]
        return [part.astype(np.float32) for part in np.split(np.asarray(flat), cuts)]

    def save(self, folder: Path) -> None:
        """Write a model folder (LightGBM's own text format inside).

        Raises:
            InputError: nothing was fitted.
        """
        if self._booster is None:
            raise InputError("LambdaMART: got nothing fitted; allowed: after fit; call it before save")
        save_model(folder, KIND, self._settings, {}, files={_MODEL_FILE: self._booster.model_to_string().encode()})

    @classmethod
    def load(cls, folder: Path, *, num_threads: int = 1) -> LambdaMart:
        """Read a model folder written by ``save``.

        Raises:
            WeightsError: it is not one, or was changed.
        """
        made = cls(num_threads=num_threads)
        made._settings, _ = load_model(folder, KIND)
        text = load_file(folder, _MODEL_FILE).decode()
        try:
            made._booster = made._library.Booster(model_str=text)
        except made._library.basic.LightGBMError as error:
            raise WeightsError(
                f"{folder}: {_MODEL_FILE}: got {error}; allowed: LightGBM text; save it again"
            ) from error
        if made._settings.get("features") != made._booster.num_feature():
            raise WeightsError(
                f"{folder}: got {made._booster.num_feature()} features in {_MODEL_FILE}; allowed: "
                f"{made._settings.get('features')} as in the manifest; save the model again"
            )
        return made


def canonical(
    features: NDArray[np.floating], grades: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rows and their grades in an order that depends on their content only.

    Shapes:
        features: [n, d]; grades: [n]; returned alike, as float64
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(grades, dtype=np.float64)
    order = np.lexsort(np.vstack([y[None], x.T[::-1]]))  # first column first, the grade last
    return x[order], y[order]


def _check_shapes(features: Sequence[NDArray[np.floating]], grades: Sequence[NDArray[np.floating]]) -> int:
    if len(features) != len(grades):
        raise ShapeError(f"LambdaMART: got {len(features)} pages and {len(grades)} grades; allowed: as many; pair them")
    widths = {x.shape[1] for x in features if x.ndim == 2}
    for i, (x, y) in enumerate(zip(features, grades, strict=True)):
        if x.ndim != 2 or y.shape != (x.shape[0],) or len(widths) != 1:
            raise ShapeError(
                f"LambdaMART: page {i}: got features {x.shape}, grades {y.shape}, widths {sorted(widths)}; "
                "allowed: (n, d) and (n,), one d for all; build them with one feature set"
            )
    return widths.pop() if widths else 0
