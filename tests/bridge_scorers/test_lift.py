"""Lift against slow loops, and in worlds where what the texts share is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kstest
from transformers import AutoTokenizer

from bridge.errors import ConformanceError, ModelError, ModelUnavailableError, UsageError
from bridge.metrics import Metric, ratio_interval
from bridge.pipeline.score import judge
from bridge.scorers import Evidence, Explained, Need
from bridge.testing import check_scorer
from bridge.testing.synthetic import PairedWorld
from bridge.testing.synthetic_words import explained_words, judge_words
from bridge.verbalizers import Explanation
from bridge_scorers.lift import Lift
from bridge_scorers.pairing import PERMUTATIONS, Array, as_good, over_all, over_others, ranks
from bridge_scorers.similarity import Embedded, embed

N, K = 40, 16
WORLD = PairedWorld(6, 6).evidence()
Found = Mapping[tuple[str, str], Metric]


def said(texts: Iterable[str]) -> list[Explanation]:
    return [Explanation(text) for text in texts]


def unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def scores(evidence: Evidence) -> Found:
    return {(metric.name, metric.arm): metric for metric in Lift().score(evidence)}


def scored(vectors: Mapping[str, Array], seed: int = 0, **texts: Sequence[str]) -> Found:
    """Score texts `ARM INDEX` whose embeddings are the given rows; other texts may be given instead."""
    known = {f"{arm} {index}": row for arm, rows in vectors.items() for index, row in enumerate(rows)}
    by_arm = {arm: said(texts.get(arm, [f"{arm} {index}" for index in range(len(vectors[arm]))])) for arm in vectors}
    native = by_arm.pop("native")
    explained = Explained([text.text for text in native], native, by_arm)

    def lookup(asked: Sequence[str]) -> np.ndarray:
        return np.array([known.get(text, np.eye(K)[0]) for text in asked], dtype=np.float32)

    return scores(dataclasses.replace(WORLD, explained={"none": explained}, judge=lookup, seed=seed))


def planted(noise: float = 0.5, seed: int = 0, n: int = N) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    meaning = unit(rng.normal(size=(n, K)))
    vectors = {arm: unit(rng.normal(size=(n, K))) for arm in ("mispaired", "random_map", "random_direction")}
    mapped = unit(meaning + noise * unit(rng.normal(size=(n, K))))
    return {"native": meaning, "mapped": mapped, **vectors}


def test_every_number_by_hand() -> None:
    vectors = planted(noise=2.0)
    found = scored(vectors)
    native, random = vectors["native"], vectors["random_direction"]

    def centred(rows: Array) -> Array:
        return unit(rows - rows.mean(0))

    for arm, rows in vectors.items():
        if arm in ("native", "random_direction"):
            continue
        for name, (a, b, r) in {
            "": (native, rows, random),
            "_centred": tuple(map(centred, (native, rows, random))),
        }.items():
            own = others = control = 0.0
            for i in range(N):
                own += a[i] @ b[i] / N
                for j in range(N):
                    others += (a[i] @ b[j]) / (N * (N - 1)) if i != j else 0.0
                    control += a[i] @ r[j] / N**2
            assert found[f"lift{name}", arm].value == pytest.approx(own - control, abs=1e-6)
            assert found[f"specific_lift{name}", arm].value == pytest.approx(own - others, abs=1e-6)
            if not name:
                assert found["matched", arm].value == pytest.approx(own, abs=1e-6)
                assert found["matched", "random_direction"].value == pytest.approx(control, abs=1e-6)
        ranking = [sorted(range(N), key=lambda i, j=j: -(native[i] @ rows[j])).index(j) + 1 for j in range(N)]
        assert found["explanation_retrieval@1", arm].value == pytest.approx(np.mean([rank == 1 for rank in ranking]))
        assert found["mrr", arm].value == pytest.approx(np.mean([1 / rank for rank in ranking]))


def test_partners_are_found_and_strangers_are_not() -> None:
    vectors = planted()
    found = scored(vectors)
    assert found["explanation_retrieval@1", "mapped"].value == found["mrr", "mapped"].value == 1
    assert found["permutation_p", "mapped"].value == 1 / (1 + PERMUTATIONS)
    assert found["lift", "mapped"].low > 0.7
    assert found["specific_lift", "mapped"].low > 0.7
    strangers = scored({**vectors, "mapped": np.roll(vectors["mapped"], 7, 0)})
    assert strangers["permutation_p", "mapped"].value > 0.05
    assert strangers["explanation_retrieval@1", "mapped"].value < 0.1
    assert abs(strangers["specific_lift", "mapped"].value) < 0.1
    assert "chance 0.0250" in found["explanation_retrieval@1", "mapped"].note
    assert found["lift", "mapped"].control == "random_direction"
    assert found["explanation_retrieval@1", "mapped"].control == found["specific_lift", "mapped"].control == "mispaired"
    assert found["flagged", "mapped"].control == "native"
    assert found["lift", "random_direction"].value == 0


def test_p_values_are_uniform_where_there_is_nothing_to_find() -> None:
    rng = np.random.default_rng(5)
    p = [(1 + as_good(rng.normal(size=(12, 12)), seed)) / (1 + PERMUTATIONS) for seed in range(200)]
    assert kstest(p, "uniform").pvalue > 0.05
    assert np.mean(np.array(p) <= 0.05) < 0.1


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Rows and columns that are similar to all, which no contrast of pairs should be moved or widened by."""
    rng, inside, n = np.random.default_rng(0), {"specific": 0, "lift": 0}, 30
    for trial in range(300):
        rows, columns, others = rng.normal(size=(3, n))
        similarity = rows[:, None] + columns + 0.5 * rng.normal(size=(n, n)) + np.diag(0.3 + 0.5 * rng.normal(size=n))
        random = rows[:, None] + others + 0.5 * rng.normal(size=(n, n))
        lift = similarity.diagonal() - over_all(random)
        for name, parts in {"specific": over_others(similarity), "lift": lift}.items():
            low, high = ratio_interval(parts, np.ones(n), seed=trial, resamples=400)
            inside[name] += low <= 0.3 <= high
            assert name == "lift" or high - low < 0.8
    assert all(0.90 <= count / 300 <= 0.98 for count in inside.values()), inside


def test_what_all_texts_share_moves_matched_but_no_centred_lift() -> None:
    vectors = {arm: np.pad(rows[:, :-1], ((0, 0), (0, 1))) for arm, rows in planted(noise=2.0).items()}
    vectors = {arm: unit(rows) for arm, rows in vectors.items()}
    template = np.eye(K)[-1]
    templated = {arm: unit(rows + 2 * template) for arm, rows in vectors.items()}
    bare, found = scored(vectors), scored(templated)
    assert found["matched", "mapped"].value > bare["matched", "mapped"].value + 0.3
    for name in ("lift_centred", "specific_lift_centred", "permutation_p", "mrr", "explanation_retrieval@1"):
        assert found[name, "mapped"].value == pytest.approx(bare[name, "mapped"].value, abs=1e-5), name
    # A template takes up room: four fifths of every squared norm.
    assert found["specific_lift", "mapped"].value == pytest.approx(bare["specific_lift", "mapped"].value / 5, abs=1e-5)
    # One that random directions do not have passes for lift, and for no specific or centred one.
    fooled = scored(
        {**templated, "mapped": unit(vectors["mispaired"] + 2 * template), "random_direction": vectors["random_map"]}
    )
    assert fooled["lift", "mapped"].low > 0.5
    for name in ("lift_centred", "specific_lift", "specific_lift_centred"):
        assert abs(fooled[name, "mapped"].value) < 0.1, name


def test_texts_that_are_all_the_same_score_nothing() -> None:
    vectors = planted()
    for arm, text in {"mapped": "mapped 3", "native": "native 3"}.items():
        found = scored(vectors, **{arm: [text] * N})
        for name in ("specific_lift", "specific_lift_centred"):
            metric = found[name, "mapped"]
            assert metric.value == metric.low == metric.high == 0
        assert found["permutation_p", "mapped"].value == 1
        assert found["explanation_retrieval@1", "mapped"].value == (1 / N if arm == "mapped" else 0)
        assert found["distinct", arm].value == pytest.approx(1 / N)
        assert "1 distinct" in found["lift", "mapped"].note


def test_flagged_texts_count_and_are_told() -> None:
    evidence = PairedWorld(6, 6).evidence([Need.EXPLANATIONS])
    found = scores(evidence)
    assert found["flagged", "mapped"].value == pytest.approx(2 / 12)
    assert "2 of 12 flagged (1 empty, 1 truncated), 12 distinct; native: 2 of 12" in found["matched", "mapped"].note
    assert {name.removesuffix("@mean") for name, _ in found} == {name for name, _ in found if "@mean" not in name}
    blank = scored(planted(), mapped=[" "] * N)
    for name in ("matched", "specific_lift", "explanation_retrieval@1"):
        assert blank[name, "mapped"].value == 0
    assert blank["flagged", "mapped"].value == 1
    assert f"{N} empty" in blank["matched", "mapped"].note


def test_matrices_are_kept() -> None:
    kept: dict[str, Any] = {}
    evidence = PairedWorld(6, 7).evidence([Need.EXPLANATIONS])
    found = scores(dataclasses.replace(evidence, keep=kept.__setitem__))
    assert {
        f"similarity.{washout}.{arm}" for washout in ("none", "mean") for arm in ("mapped", "random_direction")
    } <= set(kept)
    matrix = kept["similarity.mean.mapped"]
    assert (matrix.shape, matrix.dtype) == ((12, 12), np.float32)
    assert matrix.trace() / 12 == pytest.approx(found["matched@mean", "mapped"].value, abs=1e-6)


def test_one_direction_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="1 explained direction"):
        scored({arm: rows[:1] for arm, rows in planted().items()})


SQUARE = arrays(np.float64, st.integers(2, 9).map(lambda n: (n, n)), elements=st.floats(-1, 1, width=32))


@settings(deadline=None, max_examples=50)
@given(SQUARE, st.integers(0, 99))
def test_only_the_pairing_counts(similarity: Array, seed: int) -> None:
    n, rng = len(similarity), np.random.default_rng(seed)
    rows, columns = rng.normal(size=(2, n))
    moved = similarity + rows[:, None] + columns
    np.testing.assert_allclose(over_others(moved), over_others(similarity), atol=1e-12)
    order = rng.permutation(n)
    np.testing.assert_allclose(
        over_others(similarity[np.ix_(order, order)]), over_others(similarity)[order], atol=1e-12
    )
    np.testing.assert_array_equal(ranks(similarity[np.ix_(order, order)]), ranks(similarity)[order])
    assert over_others(similarity.T).mean() == pytest.approx(over_others(similarity).mean(), abs=1e-12)
    assert over_all(similarity).mean() == pytest.approx(similarity.mean(), abs=1e-12)
    assert ((ranks(similarity) >= 1) & (ranks(similarity) <= n)).all()


def test_centring_leaves_empty_texts_alone() -> None:
    texts = embed(judge_words, ["one two", "three", "", "one two", " "])
    assert len(texts.vectors) == 4
    assert not texts.vectors[2:].any()
    mean = texts.vectors[[0, 1, 0]].mean(0)
    np.testing.assert_allclose(texts.centred().vectors[:2], unit(texts.vectors[:2] - mean))
    assert not texts.centred().vectors[2:].any()
    nothing = Embedded(np.zeros((1, 3)), np.zeros(4, dtype=np.int64))
    np.testing.assert_array_equal(nothing.centred().similarity(nothing), np.zeros((4, 4)))


class SkipsTheControl(Lift):
    def score(self, evidence: Evidence) -> Iterable[Metric]:
        return [metric for metric in super().score(evidence) if metric.arm != "random_direction"]


class InventsAControl(Lift):
    def score(self, evidence: Evidence) -> Iterable[Metric]:
        return [
            dataclasses.replace(metric, control="raw" if metric.control else "") for metric in super().score(evidence)
        ]


def test_laws() -> None:
    check_scorer(Lift())
    for broken in (SkipsTheControl, InventsAControl):
        with pytest.raises(ConformanceError, match="every number has its control"):
            check_scorer(broken())


def test_synthetic_words_judge() -> None:
    vectors = judge_words(["a b", "b a", "c", ""])
    assert (vectors.shape[0], vectors.dtype) == (4, np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert judge_words([]).shape[0] == 0
    assert explained_words(("mapped", "raw"), 3) == explained_words(("mapped", "raw"), 3)


def test_a_folder_is_a_judge(tiny_encoder: Path, isolated: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (isolated / "models").mkdir()
    (isolated / "models" / judge.ENCODER).symlink_to(tiny_encoder)
    (isolated / "models" / "mine").symlink_to(tiny_encoder)
    texts = ["one text", "another, longer text", "one text"]
    embedded = [judge.load_judge(name)(texts) for name in ("", "mine", str(tiny_encoder))]
    for rows in embedded:
        assert (rows.shape[0], rows.dtype) == (3, np.float32)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(rows, embedded[0])
    lines = judge.load_judge("")(["one text\n \nanother, longer text\n", ""])
    np.testing.assert_allclose(lines[0], unit(embedded[0][:2].sum(0, keepdims=True))[0], atol=1e-5)
    assert "it/s" not in capfd.readouterr().err


def test_a_judge_that_is_not_there(tmp_path: Path) -> None:
    for name in ("", "nobody/nothing"):
        with pytest.raises(ModelUnavailableError, match=r"fetch_models.py all-MiniLM-L6-v2.*--encoder"):
            judge.load_judge(name)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="missing or damaged"):
        judge.load_judge(str(tmp_path))


@pytest.mark.real
def test_the_real_judge_pools_by_the_mean() -> None:
    import torch
    from transformers import AutoModel

    from bridge.models.weights import models_folder

    texts = ["a dog runs", "a puppy is running", "the stock market fell", "much longer " * 200]
    found = judge.load_judge("")(texts)
    folder = models_folder() / judge.ENCODER
    tokens = AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, truncation=True, max_length=256, return_tensors="pt"
    )
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    expected = unit(((states * mask).sum(1) / mask.sum(1)).numpy())
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found[0] @ found[1] > 0.7 > 0.2 > found[0] @ found[2]
