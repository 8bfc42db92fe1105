"""The scorer keeps the laws of its contract, finds where a map works, and draws that."""

from collections.abc import Iterator

import numpy as np
import pytest
from bridge_scorer_with_plot import Spectrum
from bridge_scorer_with_plot.components import find_components

from bridge.errors import BridgeError
from bridge.maps import AffineMap
from bridge.scorers import Evidence, HeldOutPairs, Rows
from bridge.testing import conformance

D = 30
SCALES = np.geomspace(10, 0.01, D)

test_laws = conformance("scorers", "spectrum")


class Held(HeldOutPairs):
    """3,000 rows; the destination is the source stretched along its axes, far from zero, and turned."""

    def __init__(self, documents: int = 20) -> None:
        self.turn = np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]
        self.mean_src, self.mean_dst = np.zeros(D), np.full(D, 1e3)
        self.n_documents = documents

    def blocks(self) -> Iterator[Rows]:
        rng = np.random.default_rng(1)
        for _ in range(3):
            x = rng.normal(size=(1000, D)).astype(np.float32)
            y = ((x * SCALES) @ self.turn + self.mean_dst).astype(np.float32)
            yield Rows(x, y, rng.integers(self.n_documents, size=1000), np.zeros(1000, bool))


def evidence_of(held: Held, known: int, kept: dict[str, np.ndarray]) -> Evidence:
    """Return a map that knows the `known` largest components and nothing of the others, and one that knows nothing."""
    weight = np.diag(np.where(np.arange(D) < known, SCALES, 0)) @ held.turn
    maps = {"mapped": weight, "mispaired": 0 * weight}
    arms = {arm: AffineMap(w, held.mean_src, held.mean_dst) for arm, w in maps.items()}
    return Evidence(src="a@0", dst="b@0", map="m", arms=arms, held_out=held, seed=0, keep=kept.__setitem__)


def test_it_says_where_a_map_works() -> None:
    kept: dict[str, np.ndarray] = {}
    found = {(m.name, m.arm): m for m in Spectrum().score(evidence_of(Held(), 5, kept))}
    for name, expected in (("ev_leading", 1), ("ev_tail", 0)):
        assert abs(found[name, "mapped"].value - expected) < 0.05
        assert abs(found[name, "mispaired"].value) < 0.01
        assert found[name, "mapped"].control == "mispaired"
    assert found["ev_leading", "mapped"].note == "components 1-2, 61% of the variance"
    edges, values = kept["spectrum.edges"], kept["spectrum.ev.mapped"][:, 0]
    assert (edges[0], edges[-1]) == (0, D)
    # The components of 1,500 rows are not quite the axes: next to the fifth there is some of either kind.
    assert values[edges[1:] <= 3] == pytest.approx(1, abs=0.02)
    assert values[edges[:-1] >= 8] == pytest.approx(0, abs=0.02)
    assert kept["spectrum.variance"].sum() == pytest.approx(1, abs=1e-6)


def test_components_are_not_chosen_by_the_rows_that_are_scored() -> None:
    held = Held()
    found = find_components(held)
    chose = np.concatenate([rows.y[rows.document % 2 == 0] for rows in held.typical()]).astype(np.float64)
    covariance = np.cov(chose.T, bias=True)
    turned = found.basis.T @ covariance @ found.basis
    np.testing.assert_allclose(turned, np.diag(turned.diagonal()), atol=1e-4)
    assert (np.diff(turned.diagonal()) < 0).all()


def test_one_document_has_no_spectrum() -> None:
    with pytest.raises(BridgeError, match="two held-out documents"):
        list(Spectrum().score(evidence_of(Held(documents=1), 8, {})))


def test_the_plot_is_of_what_was_kept_alone() -> None:
    kept: dict[str, np.ndarray] = {}
    list(Spectrum().score(evidence_of(Held(), 5, kept)))
    own = {name.removeprefix("spectrum."): array for name, array in kept.items()}
    plot = Spectrum().plot(own, lambda arm: {"color": "black", "marker": "o"})
    assert [text.get_text() for text in plot.figure.legends[0].get_texts()] == ["mapped", "mispaired"]
    assert plot.says.startswith("mapped 1.00 at component 1, ")
    assert plot.says.endswith("-0.00 at components 27 to 30")
