"""Names of models and sites: `name[:variant]@layer[.point][#revision]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import final

from bridge.errors import UsageError

__all__ = ["POINTS", "Site", "parse_site"]

POINTS = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
"""Points of a block, in the order of a forward pass."""

_STREAM = r"stream\d{1,9}|mean"
_LAYER = re.compile(rf"(?P<layer>-?\d{{1,9}}|\d{{1,9}}%)(?:\.(?P<point>\w+(?:\.(?:{_STREAM}))?))?")
_TRANSFORMER_LENS = re.compile(rf"blocks\.(?P<layer>\d{{1,9}})\.hook_(?P<point>\w+(?:\.(?:{_STREAM}))?)")
_MODULE = re.compile(
    r"(?P<prefix>(?:[a-zA-Z_]\w*\.)*)(?P<blocks>[a-zA-Z_]\w*)\.(?P<layer>\d{1,9})(?P<module>(?:\.\w+)*)"
)
_OUTSIDE = re.compile(r"[a-zA-Z_]\w*(?:\.\w+)+")
_TRUNK = {"model", "transformer", "language_model", "gpt_neox", "decoder", "backbone"}  # around text blocks only
_BLOCKS = {"layers", "h", "blocks"}
_RANGE = re.compile(r"(\d{1,9})-(\d{1,9})(?::(\d{1,9}))?")
_VARIANTS = re.compile(r"(?P<before>[^.]*:[^.@#]*?)(?P<first>\d+)\.\.(?P<last>\d+)(?P<after>[@#].*)?", re.DOTALL)
MOST_VARIANTS = 10_000
"""Maximal number of references that one range stands for."""

_GRAMMAR = "name[:variant]@layer[.point][#revision], as in qwen@20, pythia-70m:seed3@3#step143000 or ./folder@66%"


@final
@dataclass(frozen=True)
class Site:
    """A site in a residual network: block index and point.

    `Site(20, "resid_post")` is the output of block 20, which transformers calls `hidden_states[21]`.

    Attributes:
        layer: Index of the block, from 0; -1 for a module that stands in none (the embedding, the final norm).
        point: `resid_post`, or another point of the family's layout; or the path of a module (`layers.20.mlp`,
            `model.norm`), whose output is meant exactly as the module returns it. In a model with several residual
            streams, a point may name one of them, or their mean: `resid_post.stream0`, `resid_post.mean`.
    """

    layer: int
    point: str = "resid_post"

    def __str__(self) -> str:
        if self.is_module:
            return self.point
        return str(self.layer) if self.point == "resid_post" else f"{self.layer}.{self.point}"

    @property
    def is_module(self) -> bool:
        """Whether the output of a module is meant that the user named by its path."""
        return "." in self.point and self.place not in POINTS

    @property
    def place(self) -> str:
        """The point, without the name of a stream."""
        return self.point.partition(".")[0]

    @property
    def stream(self) -> str:
        """The stream of the point that is meant, `stream0` or `mean`; empty for the default, and for modules."""
        return "" if self.is_module else self.point.partition(".")[2]

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort key: the order in which one forward pass reaches points; modules come after the points of a block."""
        return self.layer, len(POINTS) if self.is_module else POINTS.index(self.place), self.point


@final
@dataclass(frozen=True)
class Reference:
    """A model and a site, as the user wrote them, before resolution.

    Attributes:
        model: Alias, hub id, folder or `.gguf` file.
        variant: The text after the colon (`seed3`), or empty.
        site: The text after `@`, or empty for the alias's default site.
        revision: The text after `#` (a hub branch, tag or commit), or empty.
    """

    model: str
    variant: str = ""
    site: str = ""
    revision: str = ""

    def __str__(self) -> str:
        return "".join(
            (
                self.model,
                f":{self.variant}" if self.variant else "",
                f"@{self.site}" if self.site else "",
                f"#{self.revision}" if self.revision else "",
            )
        )


def parse_reference(text: str) -> Reference:
    """Split a reference into its parts.

    Raises:
        UsageError: If the text does not follow the grammar.
    """
    body, revision = text.strip(), ""
    if exists(body):
        return Reference(body)
    if not exists(body.rpartition("@")[0]):
        body, _, revision = body.partition("#")
    model, _, site = body.rpartition("@") if "@" in body else (body, "", "")
    variant = ""
    if ":" in model and not is_path(model):
        model, colon, variant = model.partition(":")
        if colon and not variant:
            model = ""
    if not model or ("@" in body and not site) or ("#" in text and not revision and "#" not in body):
        raise UsageError(f"{text!r} is not a model reference.", remedy=f"Write {_GRAMMAR}.")
    return Reference(model, variant, site, revision)


def expand_references(text: str) -> list[str]:
    """Expand a range of variants: `dyck:seed1..4@1` gives `dyck:seed1@1` to `dyck:seed4@1`.

    Raises:
        UsageError: If the range is empty, or stands for more than `MOST_VARIANTS` references.
    """
    span = _VARIANTS.fullmatch(text)
    if not span or exists(text):
        return [text]
    ends = span["first"].lstrip("0") or "0", span["last"].lstrip("0") or "0"
    # Python converts no more than 4,300 digits, and nobody waits for a thousand million models.
    if max(map(len, ends)) > 9 or int(ends[1]) - int(ends[0]) >= MOST_VARIANTS:
        raise UsageError(
            "A range of variants is too long.",
            cause=f"One range stands for {MOST_VARIANTS:,} models at most.",
            remedy="Write first..last, as in dyck:seed1..4.",
        )
    first, last = map(int, ends)
    if first > last:
        raise UsageError(f"{text!r} is an empty range of variants.", remedy="Write first..last, as in dyck:seed1..4.")
    return [f"{span['before']}{number}{span['after'] or ''}" for number in range(first, last + 1)]


def is_path(model: str) -> bool:
    """Tell whether a model name is a file or folder rather than an alias or a hub id."""
    return model.startswith((".", "/", "~")) or model.endswith(".gguf") or (exists(model) and Path(model).is_dir())


def exists(name: str) -> bool:
    """Tell whether a file or folder of this name exists; invalid or too long names give False."""
    try:
        return bool(name) and Path(name).exists()
    except (OSError, ValueError):
        return False


def parse_site(text: str, n_layers: int) -> Site:
    """Turn the part after `@` into a site of a model with `n_layers` blocks.

    Accepts `20`, `-1`, `66%`, `20.mlp_out`, TransformerLens and SAELens names (`blocks.20.hook_resid_post`), sparsify
    names (`layers.20`) and Hugging Face module paths (`model.layers.20.mlp`, `model.norm`). A path below a block, or
    outside of the blocks, means the output of exactly that module: `mlp_out` is what the MLP adds to the stream, which
    in some families is a later norm's output. `20.resid_post.stream1` and `20.resid_post.mean` are for models with
    several residual streams.

    Args:
        text: The site, as `20`, `66%`, `-1` or `20.resid_mid`.
        n_layers: The model's number of blocks.

    Returns:
        The site.

    Raises:
        UsageError: If the text is not a site, or names a block that the model does not have.
    """
    layer, point = _split_site(text)
    # A list of another name than blocks have may be longer, and count something else.
    if not layer or (_counts_else(point) and int(layer) >= n_layers):
        return Site(-1, point)
    if layer.endswith("%"):
        share = int(layer[:-1])
        index = min(n_layers - 1, n_layers * share // 100) if share <= 100 else n_layers
    else:
        index = int(layer)
    if not -n_layers <= index < n_layers:
        raise UsageError(
            f"There is no block {layer}: this model has {n_layers} blocks.",
            remedy=f"Choose a layer from 0 to {n_layers - 1}, or a depth from 0% to 100%.",
        )
    return Site(index % n_layers, point)


def parse_sites(text: str, n_layers: int) -> list[Site]:
    """Turn `*`, `3,6,9`, `0-29:3` or a single site into sites, in the order of a forward pass.

    Raises:
        UsageError: As `parse_site`.
    """
    sites: set[Site] = set()
    for part in text.split(","):
        part = part.strip()
        span = _RANGE.fullmatch(part)
        if part == "*":
            sites |= {Site(layer) for layer in range(n_layers)}
        elif span:
            first, last, step = int(span[1]), int(span[2]), int(span[3] or 1)
            if step == 0 or first > last:
                raise UsageError(f"{part!r} is an empty range.", remedy="Write first-last or first-last:step.")
            parse_site(str(last), n_layers)
            sites |= {Site(layer) for layer in range(first, last + 1, step)}
        else:
            sites.add(parse_site(part, n_layers))
    return sorted(sites, key=lambda site: site.order)


def _split_site(text: str) -> tuple[str, str]:
    if match := _LAYER.fullmatch(text) or _TRANSFORMER_LENS.fullmatch(text):
        point = match["point"] or "resid_post"
        if point.partition(".")[0] not in POINTS:
            raise UsageError(f"{text!r} names no known point of a block.", remedy=f"Known points: {', '.join(POINTS)}.")
        return match["layer"], point
    if (match := _MODULE.fullmatch(text)) and not text.rpartition(".")[2].startswith("hook_"):
        trunk = match["blocks"] in _BLOCKS and set(match["prefix"].split(".")) <= {*_TRUNK, ""}
        if trunk and not match["module"]:
            return match["layer"], "resid_post"
        # Every site needs a unique name, because bridges and dictionaries are compared by site name.
        return match["layer"], text.removeprefix(match["prefix"]) if trunk else text
    if _OUTSIDE.fullmatch(text) and "hook_" not in text and not text.startswith("blocks."):
        return "", text
    raise UsageError(
        f"{text!r} is not a site.",
        remedy="Write a block index (20), a depth (66%), a point (20.mlp_out), a module (model.layers.20.mlp, "
        "model.norm), or blocks.20.hook_resid_post.",
    )


def _counts_else(point: str) -> bool:
    match = _MODULE.fullmatch(point)
    return match is not None and match["blocks"] not in _BLOCKS
