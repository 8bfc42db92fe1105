"""Every scorer against a reference written out by hand, its controls, and whether its interval means what it says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ortho_group, t
from sklearn.metrics import r2_score

from bridge.maps import Array, TrainingData
from bridge.metrics import jackknife_interval, ratio_interval
from bridge.moments import Moments
from bridge.scorers import Evidence, Rows, Scorer
from bridge_maps.identity import Identity
from bridge_maps.ols import OLS
from bridge_maps.random_orthogonal import RandomOrthogonal
from bridge_scorers.cka import LinearCKA
from bridge_scorers.cosine import Cosine
from bridge_scorers.explained_variance import ExplainedVariance
from bridge_scorers.retrieval import Retrieval
from evidence import InMemory, scores

D = 8
SCORERS = [ExplainedVariance(), Cosine(), Retrieval(), LinearCKA()]


class World:
    """A planted linear relation y = x A + noise with large means, in documents of unequal length."""

    def __init__(self, n: int = 400, noise: float = 0.3, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.weight = 2 * ortho_group.rvs(D, random_state=self.rng)
        self.noise = noise
        self.means = 20 * self.rng.normal(size=(2, D))
        x, y = self.draw(20_000)
        paired, mispaired = (
            TrainingData((Moments.of(x, other),), lambda: iter(())) for other in (y, np.roll(y, 7000, 0))
        )
        self.arms = {
            "mapped": OLS().fit(paired),
            "mispaired": OLS().fit(mispaired),
            "random_map": RandomOrthogonal().fit(paired),
            "raw": Identity().fit(paired),
        }
        self.mean_src, self.mean_dst = paired.moments.mean_x, paired.moments.mean_y
        x, y = (side.astype(np.float32) for side in self.draw(n))
        document = np.sort(self.rng.integers(0, n // 8, n))
        self.held_out = Rows(x, y, document, np.zeros(n, dtype=bool))

    def draw(self, n: int) -> tuple[Array, Array]:
        x = self.rng.normal(size=(n, D))
        y = x @ self.weight + self.noise * self.rng.normal(size=(n, D))
        return x + self.means[0], y + self.means[1]

    def evidence(self, rows: Rows | None = None, seed: int = 0) -> Evidence:
        pairs = InMemory(rows or self.held_out, self.mean_src, self.mean_dst)
        return Evidence(src="src@1", dst="dst@2", map="ols", arms=self.arms, held_out=pairs, seed=seed)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_explained_variance_is_the_variance_weighted_r2_of_the_held_out_rows(world: World) -> None:
    rows, found = world.held_out, scores(ExplainedVariance(), world.evidence())
    for arm, fitted in world.arms.items():
        expected = r2_score(rows.y, fitted(rows.x), multioutput="variance_weighted")
        assert found["ev", arm].value == pytest.approx(expected, rel=1e-6)
        mse = np.mean((rows.y - fitted(rows.x)) ** 2)
        assert found["ev_entrywise", arm].value == pytest.approx(1 - mse / np.var(rows.y.astype(float)), rel=1e-6)
        assert found["ev", arm].value == found["ev_with_outliers", arm].value
        assert all(found[name, arm].n == len(rows.x) for name in ("ev", "ev_with_outliers", "ev_entrywise"))


def test_outliers_count_only_where_the_name_says_so(world: World) -> None:
    clean = world.held_out
    rows = Rows(clean.x, clean.y.copy(), clean.document, np.arange(len(clean.x)) % 50 == 7)
    rows.y[rows.outlier] *= 100
    kept = clean.take(~rows.outlier)
    for scorer in SCORERS:
        found, expected = scores(scorer, world.evidence(rows)), scores(scorer, world.evidence(kept))
        for (name, arm), metric in found.items():
            if name == "ev_with_outliers":
                r2 = r2_score(rows.y, world.arms[arm](rows.x), multioutput="variance_weighted")
                assert metric.value == pytest.approx(r2, rel=1e-6)
                assert metric.n == len(rows.x)
            else:
                assert metric.value == pytest.approx(expected[name, arm].value, rel=1e-9)
                assert metric.n == len(kept.x)
    found = scores(ExplainedVariance(), world.evidence(rows))
    assert found["ev", "mapped"].value > 0.9 > 0.1 > found["ev_with_outliers", "mapped"].value


def test_cosine_by_hand(world: World) -> None:
    rows, found = world.held_out, scores(Cosine(), world.evidence())
    for arm, fitted in world.arms.items():
        total = 0.0
        for x, y in zip(rows.x, rows.y, strict=True):
            a, b = fitted(x[None])[0] - world.mean_dst, y - world.mean_dst
            total += sum(a * b) / (sum(a**2) * sum(b**2)) ** 0.5
        assert found["cosine", arm].value == pytest.approx(total / len(rows.x), rel=1e-9)


def test_retrieval_by_hand(world: World) -> None:
    rows = world.held_out.take(np.arange(60))
    found = scores(Retrieval(), world.evidence(rows))
    for arm, fitted in world.arms.items():
        mapped, hits = fitted(rows.x) - world.mean_dst, 0
        for i in range(len(mapped)):
            cosines = []
            for y in rows.y - world.mean_dst:
                cosines.append(mapped[i] @ y / (np.linalg.norm(mapped[i]) * np.linalg.norm(y)))
            hits += int(np.argmax(cosines) == i)
        metric = found["retrieval@1", arm]
        assert (metric.value, metric.n) == (hits / len(mapped), 60)
        assert "1 pools of 60; chance 0.0167" in metric.note


def test_retrieval_asks_pools_of_a_fixed_size(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge_scorers.retrieval.POOL", 30)
    monkeypatch.setattr("bridge_scorers.retrieval.POOLS", 4)
    for available, pools in ((400, 4), (100, 3), (20, 1)):
        found = scores(Retrieval(), world.evidence(world.held_out.take(np.arange(available))))
        metric = found["retrieval@1", "mapped"]
        assert metric.n == pools * min(30, available)
        assert f"{pools} pools of {min(30, available)};" in metric.note
        assert metric.value > 0.8 > 0.2 > found["retrieval@1", "mispaired"].value


def test_cka_is_the_unbiased_hsic_over_all_quadruples(world: World) -> None:
    """HSIC_1 as a U-statistic: the mean over ordered triples and quadruples of different rows."""
    n = 9
    rows = world.held_out.take(np.arange(n) * 11)

    def hsic(k: Array, m: Array) -> float:
        def mean(terms: list[float]) -> float:
            return sum(terms) / len(terms)

        indices = range(n)
        pairs = [k[i, j] * m[i, j] for i in indices for j in indices if i != j]
        triples = [k[i, j] * m[i, q] for i in indices for j in indices for q in indices if len({i, j, q}) == 3]
        quadruples = [
            k[i, j] * m[q, r]
            for i in indices
            for j in indices
            for q in indices
            for r in indices
            if len({i, j, q, r}) == 4
        ]
        return mean(pairs) - 2 * mean(triples) + mean(quadruples)

    found = scores(LinearCKA(), world.evidence(rows))
    centre = rows.y.mean(0, dtype=float)  # any will do; without one, this sum loses its digits
    true = (rows.y - centre) @ (rows.y - centre).T
    for arm, fitted in world.arms.items():
        mapped = fitted(rows.x) - centre
        gram = mapped @ mapped.T
        expected = hsic(gram, true) / (hsic(gram, gram) * hsic(true, true)) ** 0.5
        assert found["cka", arm].value == pytest.approx(expected, rel=1e-6)


def test_cka_of_unrelated_rows_is_zero_and_rotations_do_not_change_it(world: World) -> None:
    found = scores(LinearCKA(), world.evidence())
    assert found["cka", "random_map"].value == pytest.approx(found["cka", "raw"].value, rel=1e-6)
    values = []
    for seed in range(8):
        rows = world.held_out.take(np.random.default_rng(seed).permutation(400)[:80])
        shuffled = Rows(rows.x, world.held_out.take(np.arange(80) + 5 * seed).y, rows.document, rows.outlier)
        values.append(scores(LinearCKA(), world.evidence(shuffled))["cka", "mapped"].value)
    assert abs(np.mean(values)) < 0.03, "the biased estimator would give about D / n = 0.1"


def test_a_planted_relation_is_found_and_its_controls_are_at_chance(world: World) -> None:
    found = {}
    for scorer in SCORERS:
        found |= scores(scorer, world.evidence())
    mapped = {name: metric for (name, arm), metric in found.items() if arm == "mapped"}
    assert mapped["ev"].value > 0.95
    assert mapped["cosine"].value > 0.95
    assert mapped["retrieval@1"].value > 0.8
    assert mapped["cka"].value > 0.95
    assert abs(found["ev", "mispaired"].value) < 0.03
    for arm in ("mispaired", "random_map"):
        assert abs(found["cosine", arm].value) < 0.4, "one 8-dimensional draw: no more than a chance rotation gives"
        assert found["retrieval@1", arm].value < 0.05
        assert found["ev", arm].value < 0.05
    for (name, arm), metric in found.items():
        control = "random_map" if name == "cka" else "mispaired"
        assert metric.control == (control if arm == "mapped" else "")
        assert metric.low <= metric.value <= metric.high, (name, arm)
        assert (metric.src, metric.dst, metric.map) == ("src@1", "dst@2", "ols")


@pytest.mark.parametrize("scorer", SCORERS, ids=lambda scorer: scorer.name)
def test_the_same_evidence_gives_the_same_metrics(scorer: Scorer, world: World) -> None:
    assert list(scorer.score(world.evidence(seed=3))) == list(scorer.score(world.evidence(seed=3)))


def test_a_sample_is_uniform_seeded_and_free_of_outliers(world: World) -> None:
    rows = world.held_out
    marked = Rows(np.arange(400.0)[:, None].astype(np.float32), rows.y, rows.document, np.arange(400) % 4 == 0)
    pairs = InMemory(marked, world.mean_src, world.mean_dst)
    drawn = [pairs.sample(60, seed).x[:, 0].astype(int) for seed in range(200)]
    assert all(len(set(one)) == 60 and (one % 4).all() for one in drawn)
    assert np.array_equal(drawn[3], pairs.sample(60, 3).x[:, 0])
    counts = np.bincount(np.concatenate(drawn), minlength=400)[np.arange(400) % 4 > 0]
    # 300 candidates, each drawn with probability 0.2 in each of 200 draws: mean 40, standard deviation 5.7.
    assert counts.mean() == 40
    assert 4.5 < counts.std() < 7
    assert [counts[part].mean() for part in np.array_split(np.arange(300), 5)] == pytest.approx([40] * 5, abs=3)
    assert len(pairs.sample(1000, 0).x) == 300


def test_the_bootstrap_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Documents of unequal length whose rows share a mean: rows of one document are not independent."""
    rng = np.random.default_rng(0)
    inside = naive = 0
    for trial in range(200):
        sizes = rng.integers(5, 40, 60)
        shift = rng.normal(size=60)
        sums = sizes * (0.5 + shift) + np.sqrt(sizes) * rng.normal(size=60)
        low, high = ratio_interval(sums, sizes.astype(float), seed=trial, resamples=400)
        inside += low <= 0.5 <= high
        reach = 1.96 * np.sqrt(2 / sizes.sum())
        naive += abs(sums.sum() / sizes.sum() - 0.5) <= reach
    assert 0.90 <= inside / 200 <= 0.98
    assert naive / 200 < 0.6, "intervals over rows would be far too narrow here"


def test_documents_without_rows_do_not_enter_the_interval() -> None:
    rng = np.random.default_rng(0)
    top, bottom = rng.normal(1, 1, 30), rng.uniform(1, 2, 30)
    padded = [np.concatenate([side, np.zeros(500)]) for side in (top, bottom)]
    assert ratio_interval(*padded, seed=1) == ratio_interval(top, bottom, seed=1)
    assert ratio_interval(np.array([1.0, 2, 0]), np.array([1.0, 2, 0]), seed=1) == (1.0, 1.0)
    for few in (0, 1):
        assert np.isnan(ratio_interval(np.ones(few), np.ones(few), seed=1)).all()
        assert np.isnan(ratio_interval(np.ones(3), np.array([1.0, 0, 0]), seed=1)).all()


def test_the_jackknife_interval_of_a_mean_is_students() -> None:
    values = np.random.default_rng(0).normal(2, 3, 20)
    left_out = np.array([np.delete(values, i).mean() for i in range(20)])
    expected = t.interval(0.95, 19, values.mean(), values.std(ddof=1) / np.sqrt(20))
    assert jackknife_interval(values.mean(), left_out) == pytest.approx(expected)
