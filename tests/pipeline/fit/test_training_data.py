"""What maps are fitted on, as the core hands it to them: moments and streams of the same rows, fold by fold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest

from bridge.directions import read_arrays, write_arrays
from bridge.moments import Moments, total
from bridge.pairing.rows import PairedRows
from bridge.pipeline.fit.training_data import mispaired_data, training_data
from bridge.pipeline.plan.gather import gather, paired_rows
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.plan import prepare
from bridge.pipeline.plan.runtime import open_runtime

WIDTHS = (32, 40)


@pytest.fixture
def rows(tiny_models: Mapping[str, list[Path]], corpus_file: Path) -> PairedRows:
    src, dst = (f"{tiny_models[name][0]}@1" for name in ("llama", "gemma"))
    options = make_options(src=src, dst=dst, corpus=str(corpus_file), max_documents=40, max_tokens=32, dtype="float32")
    runtime = open_runtime(None)
    plan = prepare(options, runtime)
    sites = [side.model.single_site() for side in (plan.src, plan.dst)]
    left, right = gather(plan, {"src": sites[:1], "dst": sites[1:]}, runtime)
    return paired_rows(plan, left[sites[0]], right[sites[1]])


def moments(blocks: Iterable[tuple[np.ndarray, np.ndarray]]) -> Moments:
    return total([Moments.empty(*WIDTHS), *(Moments.of(x, y) for x, y in blocks)])


def assert_same(found: Moments, expected: Moments) -> None:
    assert found.n == expected.n > 0
    np.testing.assert_allclose(found.mean_x, expected.mean_x, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.xy, expected.xy, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize("folds", [[0, 1, 2, 3, 4], [0, 2, 4]], ids=["all", "one kept back"])
@pytest.mark.parametrize("mispaired", [False, True], ids=["paired", "mispaired"])
def test_a_stream_of_folds_has_their_moments(rows: PairedRows, folds: list[int], mispaired: bool) -> None:
    data = training_data(rows, *WIDTHS, folds)
    if mispaired:
        data = mispaired_data(rows, data, folds)
    assert_same(moments(data.blocks()), data.moments)
    for index, fold in enumerate(data.folds):
        assert_same(moments(data.blocks([index])), fold)
        others = [other for other in range(len(folds)) if other != index]
        assert_same(moments(data.blocks(others)), data.without_fold(index))
    assert list(data.blocks([])) == []


def test_the_way_back_streams_the_same_rows(rows: PairedRows) -> None:
    data = training_data(rows, *WIDTHS, [0, 1, 2, 3, 4])
    for (x, y), (back_y, back_x) in zip(data.blocks([1]), data.reversed().blocks([1]), strict=True):
        assert np.array_equal(x, back_x)
        assert np.array_equal(y, back_y)


def test_scalars_of_a_map_come_back_as_scalars(tmp_path: Path) -> None:
    write_arrays(tmp_path / "map.safetensors", {"scale": np.array(0.5), "t": np.ones((2, 3)).T}, {})
    found = read_arrays(tmp_path / "map.safetensors")
    assert found["scale"].shape == ()
    assert found["t"].shape == (3, 2)
