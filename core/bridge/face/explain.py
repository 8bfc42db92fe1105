"""Put one model's activations or directions into words by another model's verbalizer, or train one."""

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
        via: Model and layer whose verbalizer reads it.
        texts: What the model is run on.
        every: Explain one token in so many, counted from the last.
        ask: A question of each text, for a verbalizer that is asked: the activations of all chosen tokens stand in one
            prompt, and a text has one answer.
        directions: To be explained instead of texts: a safetensors file, or arrays by name, (n, d_src) or (d_src,),
            numpy or torch. The option `washout`, as in `("contrast:strength=2",)`, is how they are shown.
        any_layer: Take all directions to be of the source's site, whatever layers their names or number say.
        out: File for the result as JSON; None to write nothing.
        options: As for `fit`, which makes the map where it is not in the cache; `dst_verbalizer` names another one.

    Returns:
        One reading a token or direction, or a text where `ask` is given; and how much of the activations is
        reconstructed from them.

    Raises:
        bridge.errors.UsageError: If neither or both of `texts` and `directions` are given, `out` exists, or the
            verbalizer takes no questions.
        bridge.errors.BridgeError: With what happened, why, and what to do.
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
        bridge: What they go through; its models are found as they were when it was fitted.
        texts: What the source is run on.
        every: Explain one token in so many, counted from the last.
        ask: A question of each text, as for `explain`.
        directions: To be explained instead of texts, as for `explain`.
        any_layer: Take all directions to be of the source's site, whatever layers their names or number say.
        verbalizer: Which one, as `nla:checkpoint=FOLDER`; the destination's own by default.
        washout: How directions are shown; as the bridge's options say by default.
        out: File for the result as JSON; None to write nothing.

    Returns:
        One reading a token or direction, and how much of the activations is reconstructed from them.

    Raises:
        bridge.errors.UsageError: If the destination has no verbalizer, or this is an inverse; or as `explain`.
        bridge.errors.BridgeError: If a model or the verbalizer cannot be had.
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
    """Refuse what has no effect on what is explained.

    Args:
        directions: Whether directions are explained, and not texts.
        washout: Whether a washout was given.
        every: One token in so many.
        ask: What is asked of texts.

    Raises:
        bridge.errors.UsageError: Naming the option.
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
    """Explain by options that are put together: what `explain`, `explain_through` and `bridge explain` come to."""
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
    inject: Literal["replace", "add"] = "replace",
    progress: Progress | None = None,
    **options: Unpack[Keywords],
) -> dict[str, Any]:
    """Train a verbalizer of a model, from the model itself and plain text.

    Args:
        model: Whose activations it reads, as in `smollm2-135m@19`.
        verbalizer: Kind of verbalizer, with its options.
        out: Folder to write; an interrupted training in it is resumed. By default where every command finds the
            model's own verbalizer.
        steps: Optimizer steps, of the verbalizer and of its reconstructor each.
        batch: Examples a step.
        rank: Of the low-rank adapters.
        lr: Peak learning rate.
        characters: How much text before a token is said.
        topics: Say the topic of a text first; the corpus's records carry `topic`.
        reconstructor: Train the way back, too.
        inject: Whether the vector replaces a token's embedding, or is added to the output of block 1 at that token.
        progress: Is told of every stage.
        options: See `bridge.Keywords`: `corpus`, `max_documents`, `max_tokens`, `seed`, `device`, ... Half of the
            features of `dictionary` are trained on too; the others stay unseen.

    Returns:
        Where it lies (`folder`), and what was measured on held-out documents (`held_out`; losses in nats a token).

    Raises:
        bridge.errors.UsageError: If the folder holds a finished verbalizer, or the model is an encoder.
        bridge.errors.BridgeError: If the model cannot be had, or is not one that this kind can train.
    """
    from bridge.pipeline.jobs.train_verbalizer import train_verbalizer as train
    from bridge.pipeline.plan.options import make_options
    from bridge.verbalizers import Recipe

    recipe = Recipe(steps, batch, rank, lr, characters, topics, None, reconstructor, inject)
    dictionary = os.fspath(options.pop("dictionary", ""))
    given = make_options(src=model, **options)
    return train(given, verbalizer, recipe, dictionary, None if out is None else Path(out), progress)
