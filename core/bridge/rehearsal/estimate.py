"""Estimates of the real run, from configurations and one measured or given speed; orders of magnitude."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from bridge.errors import UsageError
from bridge.models import Placement
from bridge.models.dtype import AUTO
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.specs import build_washout
from bridge.readers import Sampling
from bridge.rehearsal.models import Described
from bridge.rehearsal.readers import LENGTH, Found
from bridge.rehearsal.real import Real

GIB = 2**30
SIZE = 1024
"""Rows and columns of the matrices that are multiplied to measure a speed."""

SECONDS = 0.3
ARMS = 5
"""Arms that are explained by the destination's verbalizer: mapped, and its controls."""

PROMPT = 60
"""Tokens of a verbalizer's prompt, of the length of the released ones."""


def estimates(real: Real, *, flops: float | None, devices: int) -> dict[str, Any]:
    """Estimate what the real run fetches, holds, stores and takes.

    Args:
        real: What was found of the experiment.
        flops: Operations per second of the real device; None to measure this machine's.
        devices: Number of devices that share the weights of one model.

    Returns:
        `fetch_gib`, `memory_gib` (weights alone, per device), `disk_gib` (activations), `tokens`, `explanations`,
        `hours` (a lower bound), `flops_per_second`, `from`, and `unknown`: what the estimate leaves out.
    """
    options = real.command.options
    dtype = _dtype(options)
    size = 4 if dtype == "float32" else 2
    models = list(real.models.values())
    unknown = [f"the parameters of {one.model.name}" for one in models if one.parameters is None]
    unknown += [f"the tokens of {real.corpus}"] if real.command.corpus and not real.tokens else []
    unknown += real.command.left_out
    speed, said = (flops, "as given by --flops") if flops else _measured(options, dtype)
    work = sum(_forward(one) * real.tokens for one in models)
    explanations, written, more = _explaining(options, real) if real.command.judged else (0, 0, 0.0)
    fetched = _fetched(real, models, unknown)
    largest = max((one.parameters or 0 for one in models), default=0)
    return {
        "fetch_gib": round(fetched / GIB, 1),
        "memory_gib": round(largest * size / GIB / devices, 1),
        "devices": devices,
        "disk_gib": round(sum(one.model.info.d_model for one in models) * real.tokens * size / GIB, 2),
        "tokens": real.tokens,
        "tokens_read": real.exact,
        "explanations": explanations,
        "written_tokens": written,
        "collect_hours": round(work / speed / 3600, 3),
        "explain_hours": round(more / speed / 3600, 3),
        "hours": round((work + more) / speed / 3600, 3),
        "dtype": dtype,
        "flops_per_second": float(f"{speed:.3g}"),
        "from": said,
        "unknown": unknown,
    }


def _dtype(options: Options) -> str:
    if options.models.dtype != AUTO:
        return options.models.dtype
    try:
        return Placement(options.models.device).dtype
    except UsageError:  # the real device is elsewhere
        return "bfloat16"


def _forward(one: Described) -> float:
    """Return the operations for one token up to the block that is read."""
    depth = one.deepest() / one.model.info.n_layers
    return 2.0 * (one.parameters or 0) * depth


def _explaining(options: Options, real: Real) -> tuple[int, int, float]:
    """Return the number of explanations, of written tokens, and the operations for both, reconstruction included."""
    features = options.dictionary.features if options.dictionary.reference else 0
    asked = [build_washout(text) for text in real.options.verbalize.washout]
    positions = options.verbalize.positions
    total, written, work = 0, 0, 0.0
    for side, arms in (("src", 1), ("dst", ARMS)):
        one, reader = real.models.get(side), real.readers.get(side)
        if one is None:
            continue
        sampling = _sampling(reader)
        sequences = sum(_sequences(washout.strategy, washout.backgrounds) for washout in asked) * features * arms
        sequences += positions * (arms + 1 if arms > 1 else arms)
        number = features * len(asked) * arms + positions * (arms + 1 if arms > 1 else arms)
        tokens = sequences * sampling.samples * sampling.max_new_tokens
        total, written = total + number, written + tokens
        if tokens:
            work += 2.0 * (one.parameters or 0) * (tokens + sequences * PROMPT)
            work += _forward(one) * number * (sampling.max_new_tokens + PROMPT)
    return total, written, work


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


def _measured(options: Options, dtype: str) -> tuple[float, str]:
    """Multiply square matrices for a moment; return operations per second, and how they were measured."""
    import torch

    try:
        placement, elsewhere = Placement(options.models.device, dtype), ""
        device = placement.torch_device()
    except UsageError:
        placement = Placement()  # in the dtype that suits this machine
        device = placement.torch_device()
        elsewhere = f"; the experiment's device is {options.models.device}, whose speed --flops gives"
    one = torch.ones((SIZE, SIZE), dtype=getattr(torch, placement.dtype), device=device)

    def finish() -> None:
        """Wait for the device."""
        if "cuda" in device:
            torch.cuda.synchronize(device)

    one @ one
    finish()
    start, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - start < SECONDS:
        one @ one
        finish()
        count += 1
    speed = 2 * SIZE**3 * count / (time.perf_counter() - start)
    matrices = f"products of {SIZE} x {SIZE} matrices in {placement.dtype}"
    return speed, f"measured: {matrices} on this machine ({device}){elsewhere}"
