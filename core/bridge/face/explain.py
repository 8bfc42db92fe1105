"""Explain one model's activations or directions with another model's verbalizer, or train a verbalizer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

if TYPE_CHECKING:
    from bridge.keywords import Keywords
    from bridge.pipeline.fit.bridge import Bridge
    from bridge.pipeline.plan.options import Options
    from bridge.pipeline.readings import Readings
    from bridge.progress import Progress

Directions = str | Path | Mapping[str, Any]
"""A safetensors file, or arrays of numpy or torch by name."""


def explain(
    src: str,
    via: str,
    texts: Sequence[str] = (),
    *,
    every: int = 1,
    ask: str = "",
    directions: Directions | None = None,
    any_layer: bool = False,
    out: str | Path | None = None,
    **options: Unpack[Keywords],
) -> Readings:
    """Read a model's activations on some texts, or directions, with another model's verbalizer.

    Args:
        src: Model and layer to read, as in `smollm2-135m@19`.
        via: Model and layer of the verbalizer.
        texts: The texts that the model is run on.
        every: Explain every N-th token, counted from the last.
        ask: A question about each text, for a verbalizer that answers questions: one prompt has the activations of all
            chosen tokens, and each text gets one answer.
        directions: Explained instead of texts: a safetensors file, or arrays by name, (n, d_src) or (d_src,),
            numpy or torch. The option `washout`, as in `("contrast:strength=2",)`, sets how they are shown.
        any_layer: Treat all directions as directions of the source's site, whatever layers their names or number state.
        out: File for the result as JSON; None to write nothing.
        options: As for `fit`, which fits the map if it is not cached; `dst_verbalizer` selects another verbalizer.

    Returns:
        One reading per token or direction, or per text if `ask` is given; and the share of the activations that
        is reconstructed from the readings.

    Raises:
        bridge.errors.UsageError: If neither or both of `texts` and `directions` are given, `out` exists, or the
            verbalizer takes no questions.
        bridge.errors.BridgeError: If an input, a model or a fit fails; the message gives cause and remedy.
    """
    from bridge.pipeline.plan.options import make_options

    refuse_idle(directions is not None, "washout" in options, every, ask)
    given = make_options(src=src, dst=via, **options)
    return explain_by(given, texts, every, directions, out, any_layer=any_layer, ask=ask)


def explain_through(
    bridge: Bridge,
    texts: Sequence[str] = (),
    *,
    every: int = 1,
    ask: str = "",
    directions: Directions | None = None,
    any_layer: bool = False,
    verbalizer: str = "",
    washout: str = "",
    out: str | Path | None = None,
) -> Readings:
    """Read the source's activations on some texts, or its directions, with the destination's verbalizer.

    Args:
        bridge: The bridge; its models are loaded in the revisions that it was fitted with.
        texts: The texts that the source is run on.
        every: Explain every N-th token, counted from the last.
        ask: A question about each text, as for `explain`.
        directions: Directions to explain instead of texts, as for `explain`.
        any_layer: Treat all directions as directions of the source's site, whatever layers their names or number state.
        verbalizer: The verbalizer, as `nla:checkpoint=FOLDER`; default: the destination's own.
        washout: How directions are shown; default: as in the bridge's options.
        out: File for the result as JSON; None to write nothing.

    Returns:
        One reading per token or direction, and the share of the activations that is reconstructed from the readings.

    Raises:
        bridge.errors.UsageError: If the destination has no verbalizer, or the bridge is an inverse; or as `explain`.
        bridge.errors.BridgeError: If a model or the verbalizer cannot be obtained.
    """
    from bridge.errors import UsageError
    from bridge.pipeline.plan.options import make_options

    if bridge.is_inverse:
        raise UsageError("An inverse explains nothing.", remedy=f"Fit a bridge from {bridge.src} instead.")
    refuse_idle(directions is not None, bool(washout), every, ask)
    named: dict[str, Any] = {"dst_verbalizer": verbalizer} if verbalizer else {}
    named |= {"washout": (washout,)} if washout else {}
    options = make_options(**bridge.provenance["options"] | named)
    return explain_by(options, texts, every, directions, out, bridge=bridge, any_layer=any_layer, ask=ask)


def explaining(bridge: Bridge) -> Bridge:
    """Return a bridge whose `explain` runs its models."""
    return replace(bridge, explainer=explain_through)


def refuse_idle(directions: bool, washout: bool, every: int, ask: str = "") -> None:
    """Refuse options that have no effect on the explained inputs.

    Args:
        directions: Whether directions are explained, and not texts.
        washout: Whether a washout was given.
        every: Explain every N-th token.
        ask: The question about texts.

    Raises:
        bridge.errors.UsageError: If an option has no effect; the message names the option.
    """
    from bridge.errors import UsageError

    if washout and not directions:
        raise UsageError(
            "A washout has no effect on texts: their activations are shown as they are.",
            remedy="Leave it out, or explain directions.",
        )
    if ask and directions:
        raise UsageError(
            "A question is asked of texts, and not of directions.",
            remedy="Give texts; or ask of each direction by the verbalizer's option, as in FOLDER,ask=QUESTION.",
        )
    if every != 1 and directions:
        raise UsageError("every has no effect on directions: all of them are explained.", remedy="Leave it out.")


def explain_by(
    options: Options,
    texts: Sequence[str],
    every: int,
    directions: Directions | None,
    out: str | Path | None,
    progress: Progress | None = None,
    bridge: Bridge | None = None,
    any_layer: bool = False,
    ask: str = "",
) -> Readings:
    """Explain with complete options: `explain`, `explain_through` and `bridge explain` call this function."""
    from bridge.errors import UsageError
    from bridge.face.files import need_free, write_document
    from bridge.pipeline.jobs.explain import explain_directions, explain_texts
    from bridge.pipeline.transfer.transferred import read_named

    need_free(out)
    if isinstance(texts, str) or bool(texts) == (directions is not None):
        raise UsageError("Give either texts, a list of strings, or directions.")
    if directions is None:
        result = explain_texts(options, texts, every, progress, bridge, ask=ask)
    else:
        vectors, _ = read_named(Path(directions) if isinstance(directions, str) else directions)
        narrow = {name: rows.astype("float32") for name, rows in vectors.items()}
        result = explain_directions(options, narrow, progress, bridge, any_layer=any_layer)
    write_document(out, result.document())
    return result


def train_verbalizer(
    model: str,
    *,
    verbalizer: str = "nla",
    out: str | Path | None = None,
    steps: int = 1500,
    batch: int = 16,
    rank: int = 32,
    lr: float = 1e-3,
    characters: int = 70,
    topics: bool = False,
    reconstructor: bool = True,
    inject: Literal["auto", "replace", "add"] = "auto",
    progress: Progress | None = None,
    **options: Unpack[Keywords],
) -> dict[str, Any]:
    """Train a verbalizer of a model, from the model itself and plain text.

    Args:
        model: Model whose activations the verbalizer reads, as in `smollm2-135m@19`.
        verbalizer: Kind of verbalizer, with its options.
        out: Folder to write; an interrupted training in it is resumed. Default: the folder where every command
            finds the model's own verbalizer.
        steps: Optimizer steps of the verbalizer; its reconstructor has the same number.
        batch: Examples per step.
        rank: Rank of the low-rank adapters.
        lr: Peak learning rate.
        characters: Number of characters before a token that the verbalizer learns to write.
        topics: Write the topic of a text first; the corpus's records have `topic`.
        reconstructor: Also train the reconstructor.
        inject: Whether the vector replaces a token's embedding, or is added to the output of block 1 at that token;
            `auto` for the usual way of the verbalizer's kind.
        progress: Receives every stage.
        options: See `bridge.Keywords`: `corpus`, `max_documents`, `max_tokens`, `seed`, `device`, ... Half of the
            features of `dictionary` are also trained on; the others stay unseen.

    Returns:
        The folder (`folder`), and the measurements on held-out documents (`held_out`; losses in nats per token).

    Raises:
        bridge.errors.UsageError: If the folder holds a finished verbalizer, or the model is an encoder.
        bridge.errors.BridgeError: If the model cannot be obtained, or this kind cannot train the model.
    """
    from bridge.pipeline.jobs.train_verbalizer import train_verbalizer as train
    from bridge.pipeline.plan.options import make_options
    from bridge.verbalizers import Recipe

    recipe = Recipe(steps, batch, rank, lr, characters, topics, None, reconstructor, inject)
    dictionary = os.fspath(options.pop("dictionary", ""))
    given = make_options(src=model, **options)
    return train(given, verbalizer, recipe, dictionary, None if out is None else Path(out), progress)
