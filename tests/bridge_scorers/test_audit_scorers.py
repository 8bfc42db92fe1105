"""The scorers of dictionaries and rotations, in a world where the second model is the first one rotated."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from itertools import permutations

import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.stats import kstest, ortho_group, special_ortho_group

from bridge.dictionaries import Dictionary, ReLU, SparseAutoencoder, TopK
from bridge.errors import BridgeError, ConformanceError
from bridge.maps import AffineMap, Array
from bridge.metrics import Metric
from bridge.scorers import Edit, Evidence, LiveModel, Need, Rows
from bridge.testing import check_scorer
from bridge_scorers.decoder_match import DecoderMatch
from bridge_scorers.firing import Firing
from bridge_scorers.loss_recovered import LossRecovered
from bridge_scorers.rotation import Rotation, angle_distance
from bridge_scorers.sae_transfer import SaeTransfer
from evidence import InMemory, scores

D, N, DOCUMENTS, FEATURES = 32, 600, 40, 64
RNG = np.random.default_rng(0)
ROTATION = special_ortho_group.rvs(D, random_state=RNG)
MEANS = 5 * RNG.normal(size=(2, D))
INIT = RNG.normal(size=(FEATURES, D)) / np.sqrt(D)
TRAINED = INIT + 0.01 * RNG.normal(size=INIT.shape)
TRAINED /= np.linalg.norm(TRAINED, axis=1, keepdims=True)
# Few features at a time: what a dictionary of these directions can read, and one of rotated directions cannot.
X = RNG.exponential(size=(N, FEATURES)) * (RNG.random((N, FEATURES)) < 0.03) @ TRAINED + MEANS[0]
Y = (X - MEANS[0]) @ ROTATION + MEANS[1]
ROWS = Rows(X.astype(np.float32), Y.astype(np.float32), np.sort(RNG.integers(0, DOCUMENTS, N)), np.arange(N) % 50 == 7)
ROWS.x[ROWS.outlier] *= 20
ROWS.y[ROWS.outlier] *= 30
TYPICAL = ROWS.take(~ROWS.outlier)


def affine(weight: Array, start: int = 0) -> AffineMap:
    return AffineMap(weight, MEANS[start], MEANS[1 - start])


ZERO = np.zeros(D)
CHANCE = ortho_group.rvs(D, random_state=RNG)
ARMS = {
    "mapped": affine(ROTATION),
    "mispaired": affine(ortho_group.rvs(D, random_state=RNG)),
    "random_map": affine(CHANCE),
    "raw": AffineMap(np.eye(D), ZERO, ZERO),
}
BACK = {arm: fitted.inverse() for arm, fitted in ARMS.items()}


def unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def dictionary(directions: Array, mean: Array, k: int = 3) -> SparseAutoencoder:
    tall, centre = directions.astype(np.float32), mean.astype(np.float32)
    bias = np.zeros(len(tall), np.float32)
    return SparseAutoencoder(tall.T.copy(), bias, tall, centre, TopK(k), shift=centre)


SOURCE = dictionary(TRAINED, MEANS[0])
OWN = dictionary(SOURCE.directions @ ROTATION, MEANS[1])
TWINS: dict[str, Dictionary] = {
    "same_init": dictionary(unit(INIT + 0.01 * RNG.normal(size=INIT.shape)), MEANS[1]),
    "different_init": dictionary(unit(RNG.normal(size=INIT.shape)), MEANS[1]),
    "untrained": dictionary(unit(INIT), MEANS[1]),
}
PERFECT = SparseAutoencoder(
    np.hstack([np.eye(D), -np.eye(D)]).astype(np.float32),
    np.zeros(2 * D, np.float32),
    np.vstack([np.eye(D), -np.eye(D)]).astype(np.float32),
    np.zeros(D, np.float32),
    ReLU(),
)


class Squares(LiveModel):
    """Loses 2 nats a row, and the mean square of the change."""

    n_documents = DOCUMENTS

    def losses(self, edit: Edit | None) -> tuple[Array, Array]:
        edited = ROWS.y if edit is None else edit(ROWS.y)
        assert edited.shape == ROWS.y.shape and edited.dtype == np.float32
        change = ((edited.astype(float) - ROWS.y) ** 2).mean(1)
        return ROWS.sum_by_document(2 + change, DOCUMENTS), ROWS.sum_by_document(np.ones(N), DOCUMENTS)


def evidence(
    arms: Mapping[str, AffineMap] = ARMS, source: Dictionary = SOURCE, own: Dictionary | None = OWN
) -> Evidence:
    pairs = InMemory(ROWS, *MEANS)
    return Evidence(
        src="a@1",
        dst="b@2",
        map="m",
        arms=arms,
        held_out=pairs,
        seed=0,
        back=BACK,
        src_dictionary=source,
        dst_dictionary=own,
        twins=TWINS if own else {},
        live=Squares(),
    )


def values(found: Mapping[tuple[str, str], Metric]) -> dict[tuple[str, str], float]:
    assert all(metric.low <= metric.value <= metric.high for metric in found.values())
    return {key: metric.value for key, metric in found.items()}


def test_a_dictionary_carried_by_an_exact_rotation_does_as_well_as_at_home() -> None:
    found = scores(SaeTransfer(), evidence())
    value = values(found)
    assert value["sae_ev", "mapped"] == pytest.approx(value["sae_ev", "self"], abs=1e-6)
    assert value["sae_ev", "native"] == pytest.approx(value["sae_ev", "self"], abs=1e-6)
    for arm in ("raw", "mispaired", "random_map"):
        assert value["sae_ev", arm] < value["sae_ev", "mapped"] - 0.2, arm
    assert {metric.n for metric in found.values()} == {len(TYPICAL.x)}
    assert found["sae_ev", "mapped"].control == "mispaired"
    assert ("sae_ev", "native") not in scores(SaeTransfer(), evidence(own=None))


def test_sae_transfer_by_hand() -> None:
    value = values(scores(SaeTransfer(), evidence()))
    for arm, forward in ARMS.items():
        mean, entries = TYPICAL.y.mean(0, dtype=float), TYPICAL.y.astype(float).ravel()
        lost = spread = 0.0
        for y in TYPICAL.y:
            at_home = SOURCE.reconstruct(BACK[arm](y[None]).astype(np.float32))
            lost += sum((y - forward(at_home)[0]) ** 2)
            spread += sum((y - mean) ** 2)
        assert value["sae_ev", arm] == pytest.approx(1 - lost / spread, rel=1e-5, abs=1e-6)
        entrywise = 1 - lost / len(entries) / np.var(entries)
        assert value["sae_ev_entrywise", arm] == pytest.approx(entrywise, rel=1e-5, abs=1e-6)


def test_moved_decoders_match_exactly_and_a_shared_start_matches_without_any_map() -> None:
    found = scores(DecoderMatch(), evidence())
    value = values(found)
    for name in ("decoder_match_mean", "decoder_match_max", "decoder_match_above_half"):
        assert value[name, "mapped"] == pytest.approx(1, abs=1e-6)
        assert found[name, "mapped"].control == "random_map"
    for arm in ("raw", "mispaired", "random_map", "mapped:same_init", "mapped:different_init", "raw:different_init"):
        assert 0.2 < value["decoder_match_mean", arm] < 0.5, arm
        assert value["decoder_match_above_half", arm] < 0.3, arm
    # Nothing but the initialisation is shared here, and the match is as good as a discovery.
    for arm in ("raw:same_init", "raw:untrained"):
        assert value["decoder_match_mean", arm] > 0.9, arm
        assert value["decoder_match_above_half", arm] == 1, arm
    assert "same_init, a control" in found["decoder_match_mean", "raw:same_init"].note
    assert {arm for _, arm in found} == {*ARMS, *(f"{arm}:{twin}" for arm in ("mapped", "raw") for twin in TWINS)}


def test_decoder_match_by_hand_over_alive_features(monkeypatch: pytest.MonkeyPatch) -> None:
    def small(directions: Array, mean: Array, dead: int) -> SparseAutoencoder:
        made = dictionary(directions, mean, k=len(directions))
        made.encoder_bias[dead] = -1e6
        return made

    source, own = small(SOURCE.directions[:6], MEANS[0], 2), small(OWN.directions[[5, 40, 1, 2, 0, 3, 50]], MEANS[1], 4)
    moved = [v @ ROTATION / np.linalg.norm(v) for v in np.delete(source.directions, 2, 0).astype(float)]
    there = [v / np.linalg.norm(v) for v in np.delete(own.directions, 4, 0).astype(float)]
    cosines = [[float(sum(a * b)) for b in there] for a in moved]
    best = max(permutations(range(6), 5), key=lambda order: sum(cosines[i][j] for i, j in enumerate(order)))
    matched = [cosines[i][j] for i, j in enumerate(best)]
    found = scores(DecoderMatch(), evidence(source=source, own=own))
    assert found["decoder_match_mean", "mapped"].value == pytest.approx(np.mean(matched))
    assert found["decoder_match_above_half", "mapped"].value == sum(c > 0.5 for c in matched) / 5
    assert found["decoder_match_max", "mapped"].value == pytest.approx(np.mean([max(row) for row in cosines]))
    assert found["decoder_match_mean", "mapped"].n == 5

    monkeypatch.setattr("bridge_scorers.decoder_match.MOST", 4)
    few = scores(DecoderMatch(), evidence(source=source, own=own))
    assert {name for name, _ in few} == {"decoder_match_max"}
    assert few["decoder_match_max", "mapped"].n == 4
    assert "4 source features drawn by seed" in few["decoder_match_max", "mapped"].note


def test_features_fire_together_where_the_map_is_right() -> None:
    source = dictionary(SOURCE.directions, MEANS[0])
    source.encoder_bias[:3] = -1e6
    found = scores(Firing(), evidence(source=source))
    for arm in ARMS:
        first = source.encode(TYPICAL.x)
        second = source.encode(BACK[arm](TYPICAL.y).astype(np.float32))
        total, count = 0.0, 0
        for a, b in zip(first.T.astype(float), second.T.astype(float), strict=True):
            if a.max() > 0:
                count += 1
                total += np.corrcoef(a, b)[0, 1] if b.std() > 0 else 0.0
        assert found["firing_r", arm].value == pytest.approx(total / count, abs=1e-6)
        assert found["firing_r", arm].n == count <= FEATURES - 3
    value = values(found)
    assert value["firing_r", "mapped"] == pytest.approx(1, abs=1e-3)
    assert all(abs(value["firing_r", arm]) < 0.3 for arm in ("raw", "mispaired", "random_map"))


@pytest.mark.parametrize("scorer", [DecoderMatch(), Firing()], ids=lambda scorer: scorer.name)
def test_a_dictionary_that_never_fires_is_refused(scorer: DecoderMatch | Firing) -> None:
    dead = dictionary(SOURCE.directions, MEANS[0])
    dead.encoder_bias[:] = -1e6
    with pytest.raises(BridgeError, match="No feature of the source dictionary fires"):
        list(scorer.score(evidence(source=dead)))


def test_rotations_unlike_haar_are_told_from_haar() -> None:
    half = block_diag(special_ortho_group.rvs(D // 2, random_state=np.random.default_rng(5)), np.eye(D // 2))
    turn = [[np.cos(1.0), -np.sin(1.0)], [np.sin(1.0), np.cos(1.0)]]
    shuffle = np.eye(D)[np.random.default_rng(6).permutation(D)] * np.random.default_rng(7).choice([-1, 1], D)
    grid = 2 * np.pi * (np.arange(D // 2) + 0.5) / D
    even = block_diag(*([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]] for a in grid))
    arms = {
        "mapped": affine(3 * ROTATION),
        "partial": affine(half),
        "blocks": affine(block_diag(*[turn] * (D // 2))),
        "raw": affine(np.eye(D)),
        "permuted": affine(shuffle),
        "even": affine(even),
    }
    found = scores(Rotation(), evidence(arms))
    value = values(found)
    assert value["rotation_haar_p", "mapped"] > 0.05
    for arm in ("partial", "blocks", "raw", "even"):
        assert value["rotation_haar_p", arm] < 0.05, arm
    for arm in ("mapped", "partial"):
        rotation = ROTATION if arm == "mapped" else half
        squares = sum((rotation[i, j] - (i == j)) ** 2 for i in range(D) for j in range(D))
        assert value["rotation_distance", arm] == pytest.approx(squares**0.5)
    assert value["rotation_distance", "raw"] == pytest.approx(0, abs=1e-9)
    assert value["signed_permutation_distance", "permuted"] == pytest.approx(0, abs=1e-6)
    assert value["rotation_distance", "permuted"] > 6
    assert 0 < value["signed_permutation_distance", "mapped"] < value["rotation_distance", "mapped"]
    assert all("no evidence" in metric.note and metric.n == D for metric in found.values())


def test_the_nearest_signed_permutation_by_trying_all() -> None:
    rotation = ortho_group.rvs(4, random_state=np.random.default_rng(2))
    distances = []
    for order in permutations(range(4)):
        nearest = np.zeros((4, 4))
        for i, j in enumerate(order):
            nearest[i, j] = np.sign(rotation[i, j])
        distances.append(np.linalg.norm(rotation - nearest))
    found = scores(Rotation(), small_world({"mapped": rotation}))
    assert found["signed_permutation_distance", "mapped"].value == pytest.approx(min(distances))


def small_world(rotations: Mapping[str, Array]) -> Evidence:
    d = len(next(iter(rotations.values())))
    arms = {name: AffineMap(rotation, np.zeros(d), np.zeros(d)) for name, rotation in rotations.items()}
    rows = Rows(ROWS.x[:, :d], ROWS.y[:, :d], ROWS.document, ROWS.outlier)
    return Evidence(src="a@1", dst="b@2", map="m", arms=arms, held_out=InMemory(rows, np.zeros(d), np.zeros(d)), seed=0)


@pytest.mark.parametrize("d", [7, 8])
@pytest.mark.parametrize("sign", [-1, 1])
def test_eigen_angles_by_hand(d: int, sign: int) -> None:
    rotation = special_ortho_group.rvs(d, random_state=np.random.default_rng(4))
    rotation[0] *= sign
    eigenvalues = np.linalg.eigvals(rotation)
    angles = sorted(np.angle(eigenvalues[eigenvalues.imag > 1e-9]))
    assert len(angles) == {(7, -1): 3, (7, 1): 3, (8, -1): 3, (8, 1): 4}[d, sign]
    below = [sum(other <= angle for other in angles) / len(angles) for angle in angles]
    gaps = [max(share - a / np.pi, a / np.pi - share + 1 / len(angles)) for share, a in zip(below, angles, strict=True)]
    assert angle_distance(rotation, sign) == pytest.approx(max(gaps), abs=1e-7)


@pytest.mark.parametrize("d", [11, 12])
def test_the_p_value_of_haar_draws_is_uniform(d: int) -> None:
    """Both determinants and both parities: each has its own real eigenvalues, which must not count."""
    draws = ortho_group.rvs(d, size=200, random_state=np.random.default_rng(8))
    found = scores(Rotation(), small_world({str(i): drawn for i, drawn in enumerate(draws)}))
    p = np.array([metric.value for (name, _), metric in found.items() if name == "rotation_haar_p"])
    determinants = np.linalg.det(draws)
    for sign in (-1, 1):
        chosen = p[determinants * sign > 0]
        assert len(chosen) >= 40
        assert kstest(chosen, "uniform").pvalue > 0.01
    low, high = np.percentile([np.linalg.norm(drawn - np.eye(d)) for drawn in draws], [2.5, 97.5])
    assert f"sqrt(2d) = {np.sqrt(2 * d):.3f}" in found["rotation_distance", "0"].note
    said = found["rotation_distance", "0"].note.split("[")[1].split("]")[0].split(", ")
    assert [float(end) for end in said] == pytest.approx([low, high], abs=0.15)


def test_loss_recovered_by_hand() -> None:
    found = scores(LossRecovered(), evidence())
    value = values(found)
    mean = MEANS[1].astype(np.float32)

    def loss(edited: Iterable[Array]) -> float:
        return sum(2 + sum((e - y.astype(float)) ** 2) / D for e, y in zip(edited, ROWS.y, strict=True))

    plain, zero, ablated = loss(ROWS.y), loss([ZERO] * N), loss([mean] * N)
    for arm, forward in ARMS.items():
        patched = loss(forward(SOURCE.reconstruct(BACK[arm](ROWS.y).astype(np.float32))))
        assert value["loss_recovered", arm] == pytest.approx((zero - patched) / (zero - plain), rel=1e-5)
        assert value["loss_recovered_from_mean", arm] == pytest.approx(
            (ablated - patched) / (ablated - plain), rel=1e-5
        )
        assert value["loss_increase", arm] == pytest.approx((patched - plain) / N, rel=1e-5)
    assert value["loss_recovered", "mapped"] == pytest.approx(value["loss_recovered", "native"], abs=1e-5)
    assert {metric.n for metric in found.values()} == {N}


def test_a_perfect_dictionary_recovers_all_of_the_loss() -> None:
    found = scores(LossRecovered(), evidence(source=PERFECT))
    for name, expected in (("loss_recovered", 1), ("loss_recovered_from_mean", 1), ("loss_increase", 0)):
        assert found[name, "mapped"].value == pytest.approx(expected, abs=1e-6)


def test_nothing_is_recovered_from_an_ablation_that_does_not_hurt() -> None:
    class Numb(Squares):
        def losses(self, edit: Edit | None) -> tuple[Array, Array]:
            _, counts = super().losses(edit)
            return 2 * counts, counts

    found = scores(LossRecovered(), dataclasses.replace(evidence(), live=Numb()))
    assert {name for name, _ in found} == {"loss_increase"}


class InventsAnArm(Firing):  # type: ignore[misc]
    def score(self, evidence: Evidence) -> Iterable[Metric]:
        metrics = list(super().score(evidence))
        return [*metrics, dataclasses.replace(metrics[0], arm="best", control="")]


class HidesANeed(Firing):  # type: ignore[misc]
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP})


@pytest.mark.parametrize(("broken", "error"), [(InventsAnArm, ConformanceError), (HidesANeed, AssertionError)])
def test_the_laws_are_as_strict_with_dictionaries(broken: type[Firing], error: type[Exception]) -> None:
    with pytest.raises(error):
        check_scorer(broken())
