"""Find the modules of a block that add to the residual stream: their sums are exact in every block, up to rounding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from bridge.models import Location

if TYPE_CHECKING:
    from torch import Tensor

    from bridge_models.probed import Seen

_ROUNDINGS = 4  # roundings per number: two sums, and the part's own output rounding
_STANDS_OUT = 4  # times the rounding tolerance
_NUMBERS = 16
_MOVED = 1e-3  # of the largest number; a module that does not mix tokens differs at most by rounding


def find_parts(blocks: Sequence[Seen], eps: float) -> dict[str, Location | Sequence[Location]]:
    """Find the part that moves information between tokens, the part that does not, and the stream between them.

    If possible, the same modules are used in every block; otherwise each block's own. A point is kept only if every
    block has it. If several modules return the same values, the outermost is used.

    Args:
        blocks: Inputs and outputs of each block in one pass.
        eps: Relative spacing of the model's dtype.

    Returns:
        `attn_out` and `mlp_out`, the two modules whose outputs added to the block's input give its output, and
        `resid_mid`, the first module whose input is the stream after attention. One of the two parts may be missing.
        If a block adds only one part, the part is `attn_out` if it moves information between tokens.
    """
    for search in (_two_parts, _one_part, _only_part):
        if parts := search(blocks, eps):
            return dict(parts)
        each = [search([block], eps) for block in blocks]
        if kept := [point for point in each[0] if all(point in parts for parts in each)]:
            return {point: _named(tuple(parts[point] for parts in each)) for point in kept}
    return {}


def _named(each: tuple[Location, ...]) -> Location | Sequence[Location]:
    return each[0] if len(set(each)) == 1 else each


def _two_parts(blocks: Sequence[Seen], eps: float) -> dict[str, Location]:
    before, after, entered, left = _values(blocks)
    for attention, mlp in _outermost(left):
        if _holds([before, left[attention], left[mlp]], after, eps) and _moves(left[attention]):
            middle = _middle(entered, [before, left[attention]], eps)
            parts = {"attn_out": Location(attention, "output"), "mlp_out": Location(mlp, "output")}
            return parts | ({"resid_mid": Location(middle, "input")} if middle else {})
    return {}


def _one_part(blocks: Sequence[Seen], eps: float) -> dict[str, Location]:
    """Find the stream between two parts, if one part cannot be read or consists of several modules."""
    before, after, entered, left = _values(blocks)
    by_depth = sorted(left, key=lambda name: name.count("."))
    for name, middle in entered.items():
        if _same(middle, before) or _same(middle, after):
            continue
        for part in by_depth:
            if _holds([before, left[part]], middle, eps) and _moves(left[part]):
                return {"attn_out": Location(part, "output"), "resid_mid": Location(name, "input")}
            if _holds([middle, left[part]], after, eps):
                return {"resid_mid": Location(name, "input"), "mlp_out": Location(part, "output")}
    return {}


def _only_part(blocks: Sequence[Seen], eps: float) -> dict[str, Location]:
    """Find the part of blocks with a single part, as in recurrent models."""
    before, after, _, left = _values(blocks)
    for part in sorted(left, key=lambda name: name.count(".")):
        if _holds([before, left[part]], after, eps) and _moves(left[part]):
            return {"attn_out": Location(part, "output")}
    return {}


def _values(
    blocks: Sequence[Seen],
) -> tuple[list[Tensor], list[Tensor], dict[str, list[Tensor]], dict[str, list[Tensor]]]:
    """Return the streams before and after, and the inputs and outputs by path of modules that all these blocks have."""
    before, after = ([_there(side[""]) for side in sides] for sides in _sides(blocks))
    entered = _in_every([block.entered for block in blocks], before)
    return before, after, entered, _in_every([block.left for block in blocks], before)


def _moves(values: Sequence[Tensor]) -> bool:
    """Tell whether in every block the second text's different first token changes the values of later tokens."""
    return all(
        float((value[1, 1:] - value[0, 1:]).abs().max()) > _MOVED * float(value[0, 1:].abs().max()) for value in values
    )


def _sides(blocks: Sequence[Seen]) -> tuple[list[Mapping[str, Tensor | None]], list[Mapping[str, Tensor | None]]]:
    return [block.entered for block in blocks], [block.left for block in blocks]


def _there(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


def _in_every(sides: Sequence[Mapping[str, Tensor | None]], streams: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """Return the values that every block has at the same path, with the stream's shape, in the order of the pass."""
    found = {}
    for name in sides[0]:
        values = [value for side in sides if (value := side.get(name)) is not None]
        fits = len(values) == len(sides) and all(v.shape == s.shape for v, s in zip(values, streams, strict=True))
        # Values that are zero everywhere would satisfy every sum.
        if name and fits and any(bool(value.any()) for value in values):
            found[name] = values
    return found


def _outermost(left: Mapping[str, list[Tensor]]) -> list[tuple[str, str]]:
    """Return pairs of modules in the order of the pass, neither inside the other; pairs with short paths come first."""
    pairs = [
        (first, second)
        for first, second in combinations(left, 2)
        if not f"{first}.".startswith(f"{second}.") and not f"{second}.".startswith(f"{first}.")
    ]
    return sorted(pairs, key=lambda pair: sum(name.count(".") for name in pair))


def _middle(entered: Mapping[str, list[Tensor]], terms: Sequence[list[Tensor]], eps: float) -> str:
    return next((name for name, values in entered.items() if _holds(terms, values, eps)), "")


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    import torch

    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def _holds(terms: Sequence[list[Tensor]], total: Sequence[Tensor], eps: float) -> bool:
    """Tell whether a stream and its parts add up in every block, up to rounding, and every part is needed.

    If the stream is so large that its rounding hides a part (bfloat16, massive activations), a number proves nothing.
    So each part must exceed the rounding in some numbers of every block.
    """
    for values in zip(*terms, total, strict=True):
        *added, expected = values
        stream, *parts = added
        allowed = _ROUNDINGS * eps * sum((part.abs() for part in parts), stream.abs() + expected.abs())
        if bool(((sum(parts, stream) - expected).abs() > allowed).any()):
            return False
        if any(int((part.abs() > _STANDS_OUT * allowed).sum()) < _NUMBERS for part in parts):
            return False
    return True
