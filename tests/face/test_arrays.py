"""Numpy in, numpy out; torch in, torch out on the same device: whatever moves arrays, whatever arrays they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bridge
from bridge.errors import ShapeError
from bridge.maps import AffineMap

D_SRC, D_DST = 6, 8
RNG = np.random.default_rng(0)
FITTED = AffineMap(RNG.normal(size=(D_SRC, D_DST)), RNG.normal(size=D_SRC), RNG.normal(size=D_DST))
BRIDGE = bridge.Bridge("a@0", "b@0", "ols", {}, FITTED, {}, FITTED.inverse())
KINDS = [np.float16, np.float32, np.float64, torch.float16, torch.bfloat16, torch.float32, torch.float64]

MOVES: dict[str, Callable[[Any], Any]] = {
    "points": BRIDGE,
    "directions": BRIDGE.direction,
    "transfer_directions": lambda v: bridge.transfer_directions(BRIDGE, {"v": v}).arrays["v"],
    "transfer_probes": lambda v: bridge.transfer_probes(BRIDGE, {"v": v}, score=False).arrays["v"],
}


@st.composite
def arrays(draw: st.DrawFn) -> tuple[Any, np.ndarray]:
    """An array of any kind and layout, and the same numbers in float64."""
    shape = draw(st.sampled_from([(D_SRC,), (1, D_SRC), (4, D_SRC)]))
    numbers = np.random.default_rng(draw(st.integers(0, 99))).normal(size=(2, *shape))
    kind, layout = draw(st.sampled_from(KINDS)), draw(st.sampled_from(["whole", "strided", "transposed"]))
    if layout == "transposed":
        numbers = numbers.copy(order="F")
    if isinstance(kind, type):
        made: Any = numbers.astype(kind)
        made = np.repeat(made, 2, axis=-1)[0, ..., ::2] if layout == "strided" else made[0]
        return made, made.astype(np.float64)
    tensor = torch.from_numpy(numbers).to(kind)
    tensor = tensor.repeat_interleave(2, -1)[0, ..., ::2] if layout == "strided" else tensor[0]
    tensor.requires_grad_(draw(st.booleans()))
    return tensor, tensor.detach().double().numpy()


@pytest.mark.parametrize("name", MOVES)
@settings(derandomize=True, deadline=None, max_examples=60)
@given(one=arrays())
def test_what_comes_out_is_as_what_went_in(name: str, one: tuple[Any, np.ndarray]) -> None:
    given_array, wide = one
    before = given_array.detach().clone() if isinstance(given_array, torch.Tensor) else given_array.copy()
    moved, exact = MOVES[name](given_array), MOVES[name](wide)
    assert moved.shape == (*wide.shape[:-1], D_DST)
    if isinstance(given_array, torch.Tensor):
        assert isinstance(moved, torch.Tensor) and moved.device == given_array.device and not moved.requires_grad
        assert moved.dtype == (torch.float64 if given_array.dtype == torch.float64 else torch.float32)
        assert torch.equal(given_array.detach(), before)
        moved = moved.numpy()
    else:
        assert isinstance(moved, np.ndarray)
        assert moved.dtype == (np.float64 if given_array.dtype == np.float64 else np.float32)
        np.testing.assert_array_equal(given_array, before)
    assert exact.dtype == np.float64
    np.testing.assert_array_equal(moved, exact.astype(moved.dtype))


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("wrong", [np.ones(D_SRC + 1), torch.ones(2, D_DST), np.ones((2, 2, D_SRC)), np.array(1.0)])
def test_other_shapes_are_refused(name: str, wrong: Any) -> None:
    with pytest.raises(ShapeError):
        MOVES[name](wrong)


def test_a_probe_and_its_bias_may_be_of_two_kinds() -> None:
    weights, bias = torch.ones(2, D_SRC, dtype=torch.bfloat16), np.array([1.0, 2.0])
    carried = bridge.transfer_probes(BRIDGE, {"p": weights, "p.bias": bias}).arrays
    assert carried["p"].dtype == carried["p.bias"].dtype == torch.float32
    x = RNG.normal(size=D_SRC)
    np.testing.assert_allclose(
        (carried["p"].double().numpy() @ BRIDGE(x) + carried["p.bias"].double().numpy()), x.sum() + bias, atol=1e-4
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_stay_on_their_device() -> None:
    moved = BRIDGE(torch.ones(2, D_SRC, dtype=torch.bfloat16, device="cuda"))
    assert moved.device.type == "cuda" and moved.dtype == torch.float32
