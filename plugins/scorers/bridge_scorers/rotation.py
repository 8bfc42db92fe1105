"""Comparison of a map's rotation with random rotations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import final

import numpy as np

from bridge.hookspecs import hookimpl
from bridge.metrics import Metric
from bridge.scorers import Evidence, Measure, Need, Question, Scorer
from bridge_scorers.shares import Array, Interval

WARNING = "a map fitted on mispaired rows is also Haar-like: alone, this is no evidence of shared function"


@final
class Rotation(Scorer):
    """The polar factor R = U V' of each arm's linear part U S V', against Haar-random rotations.

    `rotation_distance` is ||R - I||_F; for Haar draws its square is 2d - 2 tr R with tr R close to a standard normal
    (Diaconis and Mallows; Diaconis and Shahshahani, "On the eigenvalues of random matrices", 1994, theorem 4).
    `rotation_haar_p` is the p-value of the Kolmogorov-Smirnov distance between R's eigen-angles in (0, pi) and the
    uniform law, calibrated on Haar draws of the same determinant, because eigenvalues repel each other and the usual p
    is 1 for any Haar draw. The test is two-sided: too even angles are as untypical of Haar as clustered angles.
    `signed_permutation_distance` is the least ||R - P||_F over signed permutations P, that is
    sqrt(2d - 2 max sum |R_ij|) over assignments. Above a width of 1,024, draws take too long and no p is computed.
    """

    name = "rotation"
    summary = "Distance of the map's rotation from the identity, signed permutations and Haar-random rotations."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP, Need.EQUAL_WIDTHS})
    measures = (
        Measure(
            name="rotation_distance",
            meaning="distance of the rotation from the identity",
            order=50,
            questions=(
                Question(
                    title="How far is the rotation from the identity? (||R - I||; a random rotation: sqrt(2d))",
                    shows="A map fitted on mispaired rows has the same distance, which is therefore no evidence of a "
                    "shared function.",
                ),
            ),
        ),
        Measure(
            name="rotation_haar_p",
            meaning="p of its eigen-angles against random rotations",
            unit="p",
            order=51,
            questions=(
                Question(
                    title="Is the rotation like a random rotation? (calibrated p of its eigen-angles against Haar)",
                    shows="Above 0.05 it is indistinguishable from a random rotation, and so is mispaired. A Haar-like "
                    "rotation shows only that the bases are unrelated; the first tables show whether the models "
                    "compute the same function.",
                ),
            ),
        ),
        Measure(name="signed_permutation_distance", meaning="distance from a signed permutation of axes", order=52),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Draw the null distribution once per process for each width and determinant."""
        d = len(evidence.held_out.mean_src)
        draws = next((count for width, count in ((128, 999), (512, 199), (1024, 49)) if d <= width), 0)
        for arm, fitted in evidence.arms.items():
            rotation, rank = _polar(fitted.direction(np.eye(d)))
            arbitrary = f"; the map's rank is {rank} of {d}, the rest of R is arbitrary" if rank < d else ""
            low, high = np.sqrt(np.maximum(0.0, 2 * d - 2 * 1.96 * np.array([1, -1])))
            haar = f"Haar: sqrt(2d) = {np.sqrt(2 * d):.3f}, 95% of draws in [{low:.3f}, {high:.3f}]"
            measured = {
                "rotation_distance": (float(np.linalg.norm(rotation - np.eye(d))), haar),
                "signed_permutation_distance": (_signed_permutation_distance(rotation), "random_map is the reference"),
            }
            for name, (value, drawn) in measured.items():
                yield evidence.metric(self, name, arm, value, (value, value), d, f"{drawn}; {WARNING}{arbitrary}")
            if draws and d > 1:
                sign = _determinant(rotation)
                value, interval = _two_sided_p(
                    angle_distance(rotation, sign), _haar_distances(d, sign, draws, evidence.seed)
                )
                drawn = f"{draws} Haar draws of determinant {sign:+d}, whose number determines the interval"
                yield evidence.metric(
                    self, "rotation_haar_p", arm, value, interval, d, f"{drawn}; {WARNING}{arbitrary}"
                )


def _polar(linear: Array) -> tuple[Array, int]:
    """Return the orthogonal polar factor of a (d, d) matrix, and the matrix's rank."""
    left, values, right = np.linalg.svd(linear)
    return left @ right, int(np.sum(values > 1e-10 * values[0]))


def _determinant(rotation: Array) -> int:
    return 1 if np.linalg.slogdet(rotation)[0] > 0 else -1


def angle_distance(rotation: Array, sign: int) -> float:
    """Return the Kolmogorov-Smirnov distance of the eigen-angles in (0, pi) to the uniform law.

    Args:
        rotation: Orthogonal, (d, d) float64.
        sign: Its determinant.
    """
    # The symmetric part has each pair's cosine twice: several times faster than the eigenvalues of R, equally exact.
    cosines = np.linalg.eigvalsh((rotation + rotation.T) / 2)
    # Real eigenvalues of every rotation: -1 if the determinant is -1, and +1 if one is left without a partner.
    cosines = cosines[1:] if sign < 0 else cosines
    cosines = cosines[:-1] if len(cosines) % 2 else cosines
    quantiles = np.arccos(np.clip(cosines[::-2], -1.0, 1.0)) / np.pi
    steps = np.arange(len(quantiles) + 1) / max(len(quantiles), 1)
    return float(np.max(np.concatenate([steps[1:] - quantiles, quantiles - steps[:-1]]), initial=0.0))


@lru_cache(maxsize=16)
def _haar_distances(d: int, sign: int, draws: int, seed: int) -> Array:
    from scipy.stats import ortho_group

    rng = np.random.default_rng(seed)
    distances = np.empty(draws)
    for i in range(draws):
        drawn = ortho_group.rvs(d, random_state=rng)
        drawn[:, 0] *= sign * _determinant(drawn)
        distances[i] = angle_distance(drawn, sign)
    distances.flags.writeable = False
    return distances


def _two_sided_p(distance: float, null: Array) -> tuple[float, Interval]:
    """Return the Monte Carlo p and its interval from the number of draws (Clopper and Pearson, 1934).

    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 4.2, for (1 + k) / (N + 1).
    """
    from scipy.stats import binomtest

    beyond = min(int((null >= distance).sum()), int((null <= distance).sum()))
    ends = binomtest(beyond, len(null)).proportion_ci(0.95, method="exact")
    value = min(1.0, 2 * (1 + beyond) / (len(null) + 1))
    return value, (min(1.0, 2 * ends.low), min(1.0, 2 * ends.high))


def _signed_permutation_distance(rotation: Array) -> float:
    from scipy.optimize import linear_sum_assignment

    size = np.abs(rotation)
    best = float(size[linear_sum_assignment(size, maximize=True)].sum())
    return float(np.sqrt(max(0.0, 2 * len(rotation) - 2 * best)))


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Register the audit of rotations."""
    register(Rotation())
