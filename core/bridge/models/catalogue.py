"""All aliases, their models, and whether the weights are on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from bridge.models.adapter import Alias, ModelAdapter
from bridge.models.resolve import by_hand_folder, user_aliases
from bridge.models.weights import Weights


def catalogue(adapters: Mapping[str, ModelAdapter], more: Mapping[str, Alias]) -> list[dict[str, Any]]:
    """List aliases as records: name, model, site, family, variants, and `here` (also true for any variant's weights;
    None for the user's own aliases, which are not looked up).

    Args:
        adapters: Installed families by name.
        more: Aliases that no family provides, by name: their family is empty, because their weights decide it.

    Raises:
        UsageError: If the user's `aliases.toml` cannot be read.
    """
    entries = []
    of_families = ((name, alias) for name, adapter in sorted(adapters.items()) for alias in adapter.aliases())
    for family, alias in chain(of_families, (("", alias) for _, alias in sorted(more.items()))):
        variants = {"": alias.model, **alias.variants}
        here = any(by_hand_folder(alias, v).is_dir() or Weights(m).are_here() for v, m in variants.items())
        entries.append(
            {
                "name": alias.name,
                "site": alias.site,
                "model": alias.model,
                "family": family,
                "here": here,
                "variants": ", ".join(alias.variants),
            }
        )
    for name, target in user_aliases().items():
        entries.append({"name": name, "site": "", "model": target, "family": "yours", "here": None, "variants": ""})
    return entries
