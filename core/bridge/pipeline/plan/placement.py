"""Device, dtype and collection settings from a group of options."""

from __future__ import annotations

from bridge.collect.activations import CollectSettings
from bridge.models import Placement
from bridge.models.quantize import described
from bridge.pipeline.plan.groups import CorpusOptions, ModelOptions


def placement_of(models: ModelOptions) -> Placement:
    """Return the device, dtype and bits of models, with `auto` resolved."""
    return Placement(models.device, models.dtype, models.quantize)


def collect_settings(models: ModelOptions, corpus: CorpusOptions) -> CollectSettings:
    """Return the settings that the collected activations depend on."""
    placement = placement_of(models)
    device = placement.torch_device().partition(":")[0]
    bits = described(models.quantize)
    return CollectSettings(placement.dtype, corpus.max_tokens, models.batch_size, device, bits)
