"""Estimates of the real run, from configurations and one measured or given speed; orders of magnitude."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from bridge.errors import UsageError
from bridge.models import Placement
from bridge.models.dtype import AUTO
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.specs import build_washout
from bridge.readers import Sampling
from bridge.readers.backend import sequences_at_once
from bridge.rehearsal.costs import PROCESS, Sizes, moments_bytes, sizes_of
from bridge.rehearsal.models import Described
from bridge.rehearsal.readers import LENGTH, Found
from bridge.rehearsal.real import Real
from bridge.rehearsal.speed import measured

GIB = 2**30
ARMS = 5
"""Arms that are explained by the destination's verbalizer: mapped, and its controls."""

PROMPT = 60
"""Tokens of a verbalizer's prompt, of the length of the released ones."""


class Explaining(NamedTuple):
    """What explanations cost.

    Attributes:
        number: Explanations.
        written: Tokens that are written for them, at most.
        work: Operations of the products, reconstruction included.
        reads: Bytes of weights that are read: all of them for every step of a batch.
        kept: Bytes of keys and values of a batch, at most.
    """

    number: int = 0
    written: int = 0
    work: float = 0.0
    reads: float = 0.0
    kept: float = 0.0


def estimates(real: Real, *, flops: float | None, bandwidth: float | None, devices: int) -> dict[str, Any]:
    """Estimate what the real run fetches, holds, stores and takes.

    Args:
        real: What was found of the experiment.
        flops: Operations per second of the real device; None to measure this machine's.
        bandwidth: Bytes per second that the real device reads; None to measure this machine's, if its operations are
            measured as well.
        devices: Number of devices that share the weights of one model.

    Returns:
        `fetch_gib`, `weights_gib` and `memory_gib` (of the largest model, per device, without and with what a pass
        needs), `host_gib` (of the fit), `disk_gib` (activations), `tokens`, `tokens_per_second` (by model),
        `explanations`, `hours` (a lower bound), `flops_per_second`, `bytes_per_second`, `from`, and `unknown`: what
        the estimate leaves out.
    """
    options = real.command.options
    dtype = _dtype(options)
    size = 4 if dtype == "float32" else 2
    models, sizes = list(real.models.values()), {side: sizes_of(one) for side, one in real.models.items()}
    unknown = [f"the parameters of {one.model.name}" for one in models if one.parameters is None]
    unknown += [f"the tokens of {real.corpus}"] if real.command.corpus and not real.tokens else []
    unknown += real.command.left_out
    here, said = None, "as given by --flops"
    if not flops:
        flops, here, said = measured(options.models.device, dtype)
    bandwidth = bandwidth or here
    work = sum(one.collect for one in sizes.values()) * real.tokens
    explained = _explaining(options, real, sizes, size) if real.command.judged else Explaining()
    unknown += [] if bandwidth or not explained.written else ["reading the weights for each token (--bandwidth)"]
    more = max(explained.work / flops, explained.reads / bandwidth if bandwidth else 0.0)
    largest = max((one.parameters for one in sizes.values()), default=0) * size / devices
    kind = _kind(options)
    working = max([explained.kept, *(one.working_bytes(size, kind) for one in sizes.values())])
    src, dst = sizes.get("src"), sizes.get("dst")
    moments = moments_bytes(src.d_model, dst.d_model, options.corpus.folds) if src and dst else 0.0
    return {
        "fetch_gib": round(_fetched(real, models, unknown) / GIB, 1),
        "weights_gib": round(largest / GIB, 1),
        "memory_gib": round((largest + working) / GIB, 1),
        "host_gib": round(PROCESS + moments / GIB, 1),
        "devices": devices,
        "disk_gib": round(sum(one.d_model for one in sizes.values()) * real.tokens * size / GIB, 2),
        "tokens": real.tokens,
        "tokens_read": real.exact,
        "tokens_per_second": {
            real.models[side].label(): float(f"{flops / one.collect:.3g}") for side, one in sizes.items() if one.collect
        },
        "explanations": explained.number,
        "written_tokens": explained.written,
        "collect_hours": round(work / flops / 3600, 3),
        "explain_hours": round(more / 3600, 3),
        "hours": round(work / flops / 3600 + more / 3600, 3),
        "dtype": dtype,
        "flops_per_second": float(f"{flops:.3g}"),
        "bytes_per_second": float(f"{bandwidth:.3g}") if bandwidth else None,
        "from": said,
        "unknown": unknown,
    }


def _kind(options: Options) -> str:
    """Return the kind of the real device: that of its name, or this machine's."""
    named = options.models.device.partition(":")[0]
    return named if named != AUTO else Placement(AUTO).torch_device().partition(":")[0]


def _dtype(options: Options) -> str:
    if options.models.dtype != AUTO:
        return options.models.dtype
    try:
        return Placement(options.models.device).dtype
    except UsageError:  # the real device is elsewhere
        return "bfloat16"


def _explaining(options: Options, real: Real, sizes: dict[str, Sizes], size: int) -> Explaining:
    features = options.dictionary.features if options.dictionary.reference else 0
    asked = [build_washout(text) for text in real.options.verbalize.washout]
    positions = options.verbalize.positions
    found = Explaining()
    for side, arms in (("src", 1), ("dst", ARMS)):
        if side not in sizes:
            continue
        one, reader = sizes[side], real.readers.get(side)
        sampling = _sampling(reader)
        live = positions * (arms + 1 if arms > 1 else arms)
        sequences = sum(_sequences(washout.strategy, washout.backgrounds) for washout in asked) * features * arms + live
        number, rows = features * len(asked) * arms + live, sequences * sampling.samples
        tokens, long = rows * sampling.max_new_tokens, sampling.max_new_tokens + PROMPT
        at_once = (getattr(reader.kind, "batch", 0) if reader else 0) or sequences_at_once(one.d_model)
        # Each step of a batch reads all weights once.
        steps = tokens / max(min(at_once, rows), 1)
        found = Explaining(
            found.number + number,
            found.written + tokens,
            found.work + (one.write * (tokens + sequences * PROMPT) + one.collect * number * long if tokens else 0.0),
            found.reads + steps * one.parameters * size,
            max(found.kept, float(min(at_once, rows) * long * one.kept * size) if tokens else 0.0),
        )
    return found


def _sequences(strategy: str, backgrounds: int) -> int:
    return {"none": 1, "mean": 1, "blend": backgrounds}.get(strategy, 2 * backgrounds)


def _sampling(reader: Found | None) -> Sampling:
    """Return how much a verbalizer writes: as its options say, and nothing if its kind writes no text by a model."""
    if reader and not hasattr(reader.kind, LENGTH):
        return Sampling(max_new_tokens=0)
    names = (LENGTH, "samples")
    given = {name: value for name in names if reader and (value := getattr(reader.kind, name, None)) is not None}
    return dataclasses.replace(Sampling(), **given, temperature=1.0)


def _fetched(real: Real, models: list[Described], unknown: list[str]) -> float:
    """Return the bytes that are not on this machine yet, and say what is not counted."""
    total = float(sum(_on_disk(one) for one in models if not one.here))
    for side, reader in real.readers.items():
        one = real.models[side]
        if not reader.here:
            # Both halves, the second one cut after its block; a published size is taken where there is one.
            known = reader.known.gigabytes * 1e9 if reader.known else 0.0
            depth = one.deepest() / one.model.info.n_layers
            total += known or (one.parameters or 0) * 2.0 * (1 + depth)
    for side, asked in real.command.dictionaries.items():
        if side not in real.dictionaries and asked.startswith("hub:"):
            unknown.append(f"the size of {asked}")
    if real.command.corpus and not real.exact:
        unknown.append(f"the size of the corpus {real.corpus}")
    return total


def _on_disk(one: Described) -> float:
    config = one.model.weights.config
    said = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    return (one.parameters or 0) * (4.0 if said.endswith("float32") else 2.0)
