"""The laws of model families."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.collect.batches import pad
from bridge.corpus.documents import Document
from bridge.errors import ConformanceError, ModelError
from bridge.models import LoadedModel, ModelAdapter, Placement, Weights
from bridge.models.streams import MEAN
from bridge.pairing.align import Encoded
from bridge.references import POINTS, Site
from bridge.testing.laws import Laws

if TYPE_CHECKING:
    from torch import Tensor

TEXTS = (
    "The map between the models is a rotation.",
    "Zażółć gęślą jaźń: 你好, мир! 🙂 naïve café — “quoted”, 3.14159.",
    "One.",
    "  Leading spaces,\ttabs,\n\nand line breaks, in a text that goes on for longer than all the others do: "
    "each block of a transformer reads the residual stream, and adds to it what attention and the MLP found.",
)
MAX_TOKENS = 64
CONTRACT = "bridge.models.ModelAdapter"
REAL = 20.0
STAND_IN = 96
"""Width of the stand-in that is tried: another one than tiny checkpoints have."""

_TOLERANCE = 1e-5


def check_model(adapter: ModelAdapter, folder: Path) -> None:
    """Test the laws of `bridge.models.ModelAdapter` on one family's own tiny random checkpoints, float32, on the CPU.

    Four texts of different lengths and scripts are run on every checkpoint, one at a time and as one padded batch.

    Args:
        adapter: The instance that the plugin registers.
        folder: An empty folder for the checkpoints.

    Raises:
        ConformanceError: If a law is broken.
    """
    laws = Laws(f"The model family {adapter.name}", CONTRACT)
    # A relative path could be mistaken for a hub id.
    paths = adapter.write_tiny_checkpoints(folder.absolute())
    law = "write_tiny_checkpoints writes a checkpoint for every real class of the family"
    laws.require(len(paths) > 0, law, "an empty folder", "it wrote none")
    for path in paths:
        laws.require(
            adapter.claims(Weights(str(path))), "a family claims its own checkpoints", path.name, "it does not"
        )
        _check(adapter, Weights(str(path)), laws)
        _check_stand_in(adapter, Weights(str(path)), laws, path.with_name(f"{path.name}-stand-in"))


def _check_stand_in(adapter: ModelAdapter, weights: Weights, laws: Laws, folder: Path) -> None:
    """Test the stand-in of a tiny checkpoint, unless the family refuses to make one."""
    law = "a stand-in has the depth and class of its model and the width that was asked for, and loads"
    given = f"{Path(weights.source).name}, {STAND_IN} wide"
    try:
        with contextlib.suppress(ModelError):
            adapter.write_stand_in(weights, folder, STAND_IN)
        if not folder.is_dir():
            return
        other = Weights(str(folder))
        laws.require(adapter.claims(other), law, given, "the family does not claim it")
        told, wanted = adapter.describe(other), replace(adapter.describe(weights), d_model=STAND_IN)
        laws.require(told == wanted, law, given, f"it is {told}, and not {wanted}")
        loaded = adapter.load(other, Placement("cpu", "float32"))
        same = type(loaded.module) is type(adapter.load(weights, Placement("cpu", "float32")).module)
        laws.require(same, law, given, f"its class is {type(loaded.module).__name__}")
    except ConformanceError:
        raise
    except Exception as error:  # whatever is raised is the finding
        laws.require(False, law, given, f"{type(error).__name__}: {error}")


def check_real_model(adapter: ModelAdapter, weights: Weights) -> None:
    """Test the laws of a family on a checkpoint on this machine, in float32 on the CPU.

    Sums over real widths and depths round more than tiny ones, so differences may be `REAL` times as large.

    Args:
        adapter: The family of the checkpoint.
        weights: The checkpoint.

    Raises:
        ConformanceError: If a law is broken.
    """
    _check(adapter, weights, Laws(f"The model family {adapter.name}", CONTRACT, REAL))


def _check(adapter: ModelAdapter, weights: Weights, laws: Laws) -> None:
    model = _load(laws, adapter, weights)
    laws = Laws(f"The model family {adapter.name} ({type(model.module).__name__})", CONTRACT, laws.slack)
    info, name = adapter.describe(weights), Path(weights.source).name
    depth = len(list(model.module.get_submodule(model.layout.blocks).children()))
    kind = "causal" if model.causal else "not causal"
    found = f"it tells {info}; the model is {model.d_model} wide, has {depth} blocks, and is {kind}"
    told = (info.d_model, info.n_layers, info.n_layers, info.causal)
    law = "describe tells the width and depth that the loaded model has, and whether it is causal"
    laws.require(told == (model.d_model, model.n_layers, depth, model.causal), law, name, found)
    encoded = _check_tokens(laws, adapter, weights, model)
    _check_sites(laws, model, encoded)
    if model.causal:
        _check_causal(laws, model, encoded)
        _check_edits(laws, model, encoded)
        _check_decoding(laws, model, encoded)


def _load(laws: Laws, adapter: ModelAdapter, weights: Weights) -> LoadedModel:
    try:
        return adapter.load(weights, Placement("cpu", "float32"))
    except Exception as error:  # any error breaks the law
        law = "a checkpoint of the family loads, and each point of its layout is reached in the order of POINTS"
        laws.require(False, law, Path(weights.source).name, f"{type(error).__name__}: {error}")
        raise


def _check_tokens(laws: Laws, adapter: ModelAdapter, weights: Weights, model: LoadedModel) -> list[Encoded]:
    documents = [Document(text, text) for text in TEXTS]
    whole = model.encode(documents, 10_000)
    law = "token ends never decrease, lie within the text, and reach its end where it is not cut"
    for text, encoded in zip(TEXTS, whole, strict=True):
        ends = encoded.ends[encoded.kept]
        laws.require(encoded.ids.shape == encoded.ends.shape, law, repr(text), "there are not as many ends as ids")
        fits = len(ends) > 0 and bool((np.diff(ends) >= 0).all()) and ends[-1] == len(text)
        laws.require(fits, law, f"{text!r} of {len(text)} characters", f"the ends are {ends.tolist()}")
    law = "no text has more than max_tokens tokens, specials included"
    for limit in (2, 7, MAX_TOKENS):
        for text, encoded in zip(TEXTS, model.encode(documents, limit), strict=True):
            laws.require(len(encoded.ids) <= limit, law, f"{text!r}, {limit}", f"there are {len(encoded.ids)} tokens")
    law = "the tokenizer alone cuts texts as the loaded model does, one at a time or together"
    together = model.encode(documents, MAX_TOKENS)
    alone = [adapter.tokenizer(weights).encode([document], MAX_TOKENS)[0] for document in documents]
    for text, one, other in zip(TEXTS, alone, together, strict=True):
        same = np.array_equal(one.ids, other.ids) and np.array_equal(one.ends, other.ends)
        laws.require(same, law, repr(text), f"ids {one.ids.tolist()}, ends {one.ends.tolist()}, against {other}")
    return together


def _check_sites(laws: Laws, model: LoadedModel, encoded: Sequence[Encoded]) -> None:
    points = [point for point in POINTS if point in model.layout.points]
    law = "every family has resid_post"
    laws.require("resid_post" in points, law, "its layout", f"it has {', '.join(points) or 'no point'}")
    named = [*points, *(name for point in points for name in _editable(model, point) if name != point)]
    sites = [Site(layer, point) for layer in range(model.n_layers) for point in named]
    batch = _rows(model, encoded, sites)
    alone: list[dict[Site, np.ndarray]] = [_rows(model, [one], sites)[0] for one in encoded]
    for text, together, single in zip(TEXTS, batch, alone, strict=True):
        for site in sites:
            given = f"{text!r} at site {site}, alone and in a batch of {len(TEXTS)}"
            law = "batching texts of different lengths changes nothing"
            laws.shape("activations are finite (tokens, d_model)", given, single[site], single[site].shape, np.float32)
            laws.close(law, given, together[site], single[site], _TOLERANCE)
        for layer in range(model.n_layers):
            at = {point: single[Site(layer, point)] for point in points}
            after = single.get(Site(layer + 1, "resid_pre"))
            _check_sums(laws, at, after, f"{text!r} at block {layer}")


def _rows(model: LoadedModel, encoded: Sequence[Encoded], sites: Sequence[Site]) -> list[dict[Site, np.ndarray]]:
    ids, mask = pad([one.ids for one in encoded])
    outputs = dict(zip(sites, model.activations(ids, mask, sites), strict=True))
    return [
        {site: outputs[site][row, : len(one.ids)].cpu().numpy() for site in sites} for row, one in enumerate(encoded)
    ]


def _check_sums(laws: Laws, at: dict[str, np.ndarray], following: np.ndarray | None, given: str) -> None:
    if following is not None:
        law = "resid_post of a block is resid_pre of the next"
        laws.close(law, given, at["resid_post"], following, _TOLERANCE)
    if {"resid_pre", "attn_out", "mlp_out"} <= set(at):
        law = "resid_pre + attn_out + mlp_out = resid_post"
        laws.close(law, given, at["resid_pre"] + at["attn_out"] + at["mlp_out"], at["resid_post"], _TOLERANCE)
    if {"resid_pre", "attn_out", "resid_mid"} <= set(at):
        laws.close(
            "resid_mid = resid_pre + attn_out", given, at["resid_pre"] + at["attn_out"], at["resid_mid"], _TOLERANCE
        )


def _check_causal(laws: Laws, model: LoadedModel, encoded: Sequence[Encoded]) -> None:
    site = Site(model.n_layers - 1)
    law = "no token of a causal model sees what stands to its right"
    for text, one in zip(TEXTS, encoded, strict=True):
        half = max(1, len(one.ids) // 2)
        cut = Encoded(one.ids[:half], one.ends[:half])
        (whole,), (part,) = (_rows(model, [some], [site]) for some in (one, cut))
        laws.close(
            law, f"{text!r} at site {site}, and its first {half} tokens", part[site], whole[site][:half], _TOLERANCE
        )


def _check_edits(laws: Laws, model: LoadedModel, encoded: Sequence[Encoded]) -> None:
    ids, mask = pad([one.ids[:8] for one in encoded[:2]])
    plain = model.logits(ids, mask).cpu().numpy()
    law = "logits are finite (batch, tokens, vocabulary)"
    laws.shape(law, "two texts", plain, (*ids.shape, plain.shape[-1]), np.float32)
    for name in (name for point in POINTS if point in model.layout.points for name in _editable(model, point)):
        site = Site(model.n_layers - 1, name)
        given = f"two texts, edited at site {site}"
        same = model.logits(ids, mask, {site: lambda value: value}).cpu().numpy()
        laws.close("an edit that changes nothing changes no prediction", given, same, plain, _TOLERANCE)
        changed = model.logits(ids, mask, {site: lambda value: value + value.flip(-1)}).cpu().numpy()
        law = "what comes after an edited site reads the edit"
        laws.require(bool(np.abs(changed - plain).max() > 0), law, given, "the predictions are the same")
    law = "the last block's resid_post decides the prediction"
    exchanged = {Site(model.n_layers - 1, name): _exchanged for name in _editable(model, "resid_post")}
    swapped = model.logits(ids, mask, exchanged).cpu().numpy()
    laws.close(law, "two texts whose activations are exchanged", swapped, plain[::-1], _TOLERANCE)


def _check_decoding(laws: Laws, model: LoadedModel, encoded: Sequence[Encoded]) -> None:
    law = "texts read side by side and part by part are predicted from as each is alone and whole"
    site = Site(0, _editable(model, "resid_post")[0])

    def check(found: Tensor, texts: Sequence[NDArray[np.int64]], edited: Sequence[int]) -> None:
        for logits, text, last in zip(found, texts, edited, strict=True):
            ids, mask = pad([text])
            alone = model.logits(ids, mask, {site: _mirrored(last)})[0, -1]
            given = f"{len(texts)} texts, one of {len(text)} tokens, of which {last} are edited"
            laws.close(law, given, logits.cpu().numpy(), alone.cpu().numpy(), _TOLERANCE)

    texts = [one.ids[: 20 - 4 * row] for row, one in enumerate(encoded)]
    part, last = np.split(texts[0][:4], [1])
    decoding = model.decoding(24)
    check(decoding.read(texts), texts, [0, 0, 0, 0])
    texts = [np.append(text, part) for text in texts]
    check(decoding.read([part] * 4), texts, [0, 0, 0, 0])
    # One is dropped, one goes on twice, and one of the two is edited where it is read last, and only there.
    kept = [3, 0, 1, 1]
    decoding.keep(kept)
    texts = [np.append(texts[row], last) for row in kept]
    check(decoding.read([last] * 4, [{}, {}, {site: _mirrored(3)}, {}]), texts, [0, 0, 3, 0])


def _editable(model: LoadedModel, point: str) -> list[str]:
    """Return the names under which a point can be edited: its own, or those of its streams."""
    streams = model.layout.streams(Site(0, point))
    return [point] if streams is None else [f"{point}.{name}" for name in streams.names if name != MEAN]


def _exchanged(value: Tensor) -> Tensor:
    return value.flip(0)


def _mirrored(tokens: int) -> Callable[[Tensor], Tensor]:
    """Return an edit that changes every direction of the last tokens, and no other token."""

    def edit(value: Tensor) -> Tensor:
        value[:, value.shape[1] - tokens :] += value[:, value.shape[1] - tokens :].flip(-1)
        return value

    return edit
