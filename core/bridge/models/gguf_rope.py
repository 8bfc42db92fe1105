"""How a GGUF file stretches rotary positions, as parameters of transformers.

llama.cpp divides the angle of each pair of dimensions by a factor of the file (`rope_freqs.weight`: Llama 3.1 and
later; `rope_factors_short` and `_long`: Phi-3), or all angles by one (`rope.scaling.*`: linear, YaRN).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

ONE, SHORT, LONG = "rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"
FACTORS = (ONE, SHORT, LONG)
"""Tensors of a file that are no weights."""

_KNOWN = {
    "linear": {"rope.scaling.factor", "rope.scale_linear"},
    "yarn": {
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.attn_factor",
        "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
    },
    "longrope": {"rope.scaling.attn_factor", "rope.scaling.original_context_length"},
    "none": set[str](),
}
_ALWAYS = {"rope.scaling.type", "rope.scaling.finetuned"}


def rope_scaling(keys: Mapping[str, Any], factors: Mapping[str, Any], longest: int) -> tuple[dict[str, Any], list[str]]:
    """Return what to add to `rope_parameters`, and the keys that cannot be applied.

    Args:
        keys: The metadata of the architecture, without its name in front.
        factors: The tensors of rotary factors, (pairs of dimensions,) float32, by name.
        longest: The context, in tokens.
    """
    given = {key for key in keys if key.startswith("rope.scal")}
    # llama.cpp takes a factor without a type for a linear one.
    kind = "longrope" if factors else str(keys.get("rope.scaling.type", "linear"))
    unknown = sorted(given - _KNOWN.get(kind, set()) - _ALWAYS)
    if kind not in _KNOWN or (kind == "longrope") != bool(factors):
        return {}, sorted(given)
    if kind == "longrope":
        return _by_pair(keys, factors, longest), unknown
    factor = float(keys.get("rope.scaling.factor") or keys.get("rope.scale_linear") or 1.0)
    if kind == "none" or factor in (0.0, 1.0):
        return {}, unknown
    found: dict[str, Any] = {"rope_type": kind, "factor": factor}
    if kind == "yarn":
        found["original_max_position_embeddings"] = int(keys.get("rope.scaling.original_context_length", longest))
        # What YaRN multiplies attention by (arXiv 2309.00071, equation 22), and the file's own factor on top.
        found["attention_factor"] = float(keys.get("rope.scaling.attn_factor", 1.0)) * (0.1 * math.log(factor) + 1)
        found["beta_fast"] = float(keys.get("rope.scaling.yarn_beta_fast", 32.0))
        found["beta_slow"] = float(keys.get("rope.scaling.yarn_beta_slow", 1.0))
    return found, unknown


def _by_pair(keys: Mapping[str, Any], factors: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """Return one factor a pair of dimensions, by transformers' name for it, whatever rule the factors came from."""
    short = factors.get(SHORT, factors.get(ONE, factors.get(LONG)))
    long = factors.get(LONG, short)
    return {
        "rope_type": "longrope",
        "short_factor": [float(one) for one in short],
        "long_factor": [float(one) for one in long],
        "attention_factor": float(keys.get("rope.scaling.attn_factor", 1.0)),
        "factor": 1.0,
        "original_max_position_embeddings": int(keys.get("rope.scaling.original_context_length", longest)),
    }
