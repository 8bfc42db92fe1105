"""What maps are fitted on, as the core hands it to them: moments and streams of the same rows, fold by fold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import final

import numpy as np
import pytest

from bridge.directions import read_arrays, write_arrays
from bridge.moments import Moments, total
from bridge.pairing.rows import PairedRows, Rows
from bridge.pipeline.fit.sums import Asked, Summed
from bridge.pipeline.fit.training_data import by_runs, mispaired_data, training_data
from bridge.pipeline.plan.gather import gather, paired_rows
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.plan import prepare
from bridge.pipeline.plan.runtime import open_runtime
from bridge.products import HostProducts

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


@pytest.mark.parametrize("mispaired", [False, True], ids=["paired", "mispaired"])
def test_runs_of_shards_in_any_order_have_the_same_moments(mispaired: bool) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(3, 1, (7000, 256)).astype(np.float32)
    y = (x @ rng.normal(size=(256, 260)) + rng.normal(-5, 9, (7000, 260))).astype(np.float32)
    runs = [Part(x[start : start + 1000], y[start : start + 1000]) for start in range(0, 7000, 1000)]
    widths, where = (256, 260), HostProducts()
    together = [training_data(Whole(runs), *widths, [0, 1])]
    calls: list[Asked] = []

    def backwards(asked: Asked) -> Iterator[tuple[int, Summed | None]]:
        calls.append(asked)
        found = list(by_runs(runs, widths, where)(asked))
        return iter(found[:1] + found[:0:-1])

    apart = [training_data(Whole(runs), *widths, [0, 1], divided=by_runs(runs, widths, where))]
    shuffled = [training_data(Whole(runs), *widths, [0, 1], divided=backwards)]
    if mispaired:
        together.append(mispaired_data(Whole(runs), together[0], [0, 1]))
        apart.append(mispaired_data(Whole(runs), apart[0], [0, 1], by_runs(runs, widths, where)))
        shuffled.append(mispaired_data(Whole(runs), shuffled[0], [0, 1], backwards))
    one, two, three = together[-1], apart[-1], shuffled[-1]
    assert one.products == two.products == three.products == "float32"
    assert [asked.pairs for asked in calls] == ["paired", "products"][: 1 + mispaired]
    for name in ("mean_x", "mean_y", "xx", "xy", "yy"):
        for found, other, expected in zip(two.folds, three.folds, one.folds, strict=True):
            assert np.array_equal(getattr(found, name), getattr(other, name))
            scale = np.abs(getattr(expected, name)).max()
            assert np.abs(getattr(found, name) - getattr(expected, name)).max() < 1e-6 * scale


def test_a_run_without_partners_makes_all_mispaired_moments_new() -> None:
    rng = np.random.default_rng(0)
    runs = [Part(*rng.normal(size=(2, 600, 8)).astype(np.float32), documents=n) for n in (60, 1, 60, 60)]
    widths = (8, 8)
    divided = by_runs(runs, widths, HostProducts())
    data = training_data(Whole(runs), *widths, [0, 1], divided=divided)
    found = mispaired_data(Whole(runs), data, [0, 1], divided)
    assert found.moments.n == 1800
    assert data.moments.n == 2400
    assert_same(total([Moments.of(x, y) for x, y in found.blocks()]), found.moments)


@final
class Part:
    """Rows of one shard in two folds."""

    def __init__(self, x: np.ndarray, y: np.ndarray, documents: int = 50) -> None:
        self.x, self.y, self.documents = x, y, documents

    def parts(self, folds: Collection[int]) -> Iterator[tuple[int, Rows]]:
        half = len(self.x) // 2
        for fold, rows in enumerate((slice(half), slice(half, None))):
            if fold in folds:
                document = np.arange(half) * self.documents // len(self.x)
                yield fold, Rows(self.x[rows], self.y[rows], document, np.zeros(half, bool))


@final
class Whole:
    """Rows of several shards."""

    def __init__(self, runs: list[Part]) -> None:
        self.runs = runs

    def parts(self, folds: Collection[int]) -> Iterator[tuple[int, Rows]]:
        for run in self.runs:
            yield from run.parts(folds)
