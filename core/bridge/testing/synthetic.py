"""Synthetic paired rows: two widths that share a few dimensions, plus noise and means far from zero."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.maps import AffineMap, Array, FittedMap, TrainingData
from bridge.moments import Moments
from bridge.pairing.rows import Rows
from bridge.scorers import MAPPED, MISPAIRED, RANDOM_MAP, RAW, Evidence, HeldOutPairs, Need
from bridge.testing.synthetic_tools import SmoothModel, latent_dictionary, random_dictionary
from bridge.testing.synthetic_words import explained_words, judge_words, readings_of

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
SHARED, NOISE, FOLDS, ROWS_PER_FOLD, READ = 6, 0.3, 4, 300, 40


@final
class PairedWorld:
    """Two residual streams with the same six latent dimensions, each in its own basis.

    Args:
        d_src: Width of the source.
        d_dst: Width of the destination.
        seed: Seed of the two bases and means.
    """

    def __init__(self, d_src: int, d_dst: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.widths = (d_src, d_dst)
        self._bases = [rng.normal(size=(SHARED, width)) for width in self.widths]
        self._means = [5 * rng.normal(size=width) for width in self.widths]

    def rows(self, count: int, seed: int) -> Pair:
        """Draw paired rows, (count, d_src) and (count, d_dst) float32."""
        rng = np.random.default_rng(seed)
        latent = rng.normal(size=(count, SHARED))
        x, y = (
            (latent @ basis + mean + NOISE * rng.normal(size=(count, len(mean)))).astype(np.float32)
            for basis, mean in zip(self._bases, self._means, strict=True)
        )
        return x, y

    def training_data(self) -> TrainingData:
        """Return 1,200 rows in four folds."""
        folds = [self.rows(ROWS_PER_FOLD, seed=100 + fold) for fold in range(FOLDS)]

        def blocks(chosen: Collection[int] | None = None, /) -> Iterator[Pair]:
            return (folds[index] for index in (range(FOLDS) if chosen is None else chosen))

        return TrainingData(tuple(Moments.of(x, y) for x, y in folds), blocks)

    def evidence(self, needs: Collection[Need] = ()) -> Evidence:
        """Return a least-squares map and its controls, over held-out rows that no map was fitted on.

        Args:
            needs: Additional evidence: dictionaries, live model, explanations and readings; a dictionary adds the
                reverse maps and the twins; explanations or readings add a judge.
        """
        moments = self.training_data().moments
        held_out = _Held(self, moments)
        src, dst = (latent_dictionary(*side) for side in zip(self._bases, self._means, strict=True))
        back = _arms([(y, x) for x, y in self.training_data().blocks()])
        with_src, with_dst = Need.SRC_DICTIONARY in needs, Need.DST_DICTIONARY in needs
        arms, says = _arms(list(self.training_data().blocks())), Need.EXPLANATIONS in needs
        reads = readings_of(held_out.sample(READ, seed=1), arms, back) if Need.READINGS in needs else None
        twins = {"untrained": random_dictionary(2 * SHARED, self._means[1], seed=3)}
        return Evidence(
            src="source@1",
            dst="destination@2",
            map="least squares",
            arms=arms,
            held_out=held_out,
            seed=0,
            back=back if with_src or with_dst else {},
            src_dictionary=src if with_src else None,
            dst_dictionary=dst if with_dst else None,
            twins=twins if with_dst else {},
            live=SmoothModel(held_out.blocks, held_out.n_documents) if Need.LIVE_MODEL in needs else None,
            explained={"none": explained_words(arms, 0), "mean": explained_words(arms, 1)} if says else {},
            readings=reads,
            judge=judge_words if says or reads else None,
        )


@final
class _Held(HeldOutPairs):
    """450 rows of 30 documents in three blocks, one row in fifty an outlier."""

    def __init__(self, world: PairedWorld, training: Moments) -> None:
        self.mean_src, self.mean_dst = training.mean_x, training.mean_y
        self.n_documents = 30
        self._world = world

    def blocks(self) -> Iterator[Rows]:
        for block in range(3):
            x, y = self._world.rows(150, seed=200 + block)
            outlier = np.arange(150) % 50 == 25
            x[outlier] *= 30
            yield Rows(x, y, np.repeat(np.arange(10 * block, 10 * block + 10), 15), outlier)


def _least_squares(moments: Moments) -> AffineMap:
    weight: Array = np.linalg.solve(moments.xx, moments.xy).astype(np.float64)
    return AffineMap(weight, moments.mean_x, moments.mean_y)


def _arms(folds: Sequence[Pair]) -> Mapping[str, FittedMap]:
    d_src, d_dst = (side.shape[1] for side in folds[0])
    moments = sum((Moments.of(x, y) for x, y in folds), Moments.empty(d_src, d_dst))
    mispaired = sum(((Moments.of(x, np.roll(y, len(y) // 2, 0)) for x, y in folds)), Moments.empty(d_src, d_dst))
    larger = np.random.default_rng(2).normal(size=(max(d_src, d_dst), max(d_src, d_dst)))
    rotation: Array = np.linalg.qr(larger)[0][:d_src, :d_dst]
    arms: dict[str, FittedMap] = {
        MAPPED: _least_squares(moments),
        MISPAIRED: _least_squares(mispaired),
        RANDOM_MAP: AffineMap(rotation, moments.mean_x, moments.mean_y),
    }
    if d_src == d_dst:
        arms[RAW] = AffineMap(np.eye(d_src), np.zeros(d_src), np.zeros(d_src))
    return arms
