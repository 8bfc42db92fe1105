"""Published readers of a model: which there are, what is here of them, and which one is taken."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from bridge.errors import UsageError
from bridge.models.resolve import ResolvedModel, user_aliases
from bridge.models.weights import models_folder
from bridge.plugins.registry import Registry
from bridge.references import Reference, parse_reference, parse_site
from bridge.verbalizers import KnownReader

WEIGHT_FILES = ("adapter_model.safetensors", "model.safetensors", "model.safetensors.index.json")
"""One of these is in every folder of weights that a reader is made of."""


def is_here(weights: str) -> bool:
    """Tell whether weights of the hub are on this machine, without touching the network.

    Args:
        weights: `user/repo`, or `user/repo/folder` for a part of one.
    """
    from huggingface_hub import try_to_load_from_cache

    if (models_folder() / weights).is_dir():
        return True
    user, _, rest = weights.partition("/")
    repository, _, folder = rest.partition("/")
    files = (f"{folder}/{file}" if folder else file for file in WEIGHT_FILES)
    return any(isinstance(try_to_load_from_cache(f"{user}/{repository}", file), str) for file in files)


def missing(reader: KnownReader) -> list[str]:
    """Return which of a reader's weights are not on this machine."""
    return [weights for weights in reader.weights if not is_here(weights)]


def readers_of(model: ResolvedModel, registry: Registry) -> list[KnownReader]:
    """Return the published readers of a model that was found, by name."""
    names = hub_names(model.reference, registry) | {model.weights.source}
    folder = model.weights.folder
    if folder and folder.is_relative_to(models_folder()):
        names.add(folder.relative_to(models_folder()).as_posix())
    return _of(names, registry)


def readers_named(model: str, registry: Registry) -> list[KnownReader]:
    """Return the published readers of a model that need not be on this machine, by name.

    Args:
        model: A reference; its site and revision are not looked at.
        registry: Installed plugins.

    Raises:
        UsageError: If it is no reference.
    """
    return _of(hub_names(parse_reference(model), registry), registry)


def hub_names(reference: Reference, registry: Registry) -> set[str]:
    """Return the names of the hub that a reference stands for: its own, and what an alias of its name means."""
    own = user_aliases().get(reference.model)
    if own:
        meant = parse_reference(own)
        reference = replace(meant, variant=meant.variant or reference.variant)
    of_families = (alias for family in registry.models.values() for alias in family.aliases())
    aliases = [alias for alias in (*registry.aliases.values(), *of_families) if alias.name == reference.model]
    return {reference.model} | {alias.variants.get(reference.variant, alias.model) for alias in aliases}


def _of(names: Collection[str], registry: Registry) -> list[KnownReader]:
    return [reader for _, reader in sorted(registry.known_readers.items()) if reader.model in names]


def best_reader(model: ResolvedModel, registry: Registry, *, asked: bool = False) -> KnownReader | None:
    """Return the reader that is taken where the user names none; None where none is published.

    Its kind is installed, it reads the site that the reference names (any where it names none), and it takes a question
    exactly if there is one. Of those: first what is on this machine, then what has a way back, then the smaller one.

    Args:
        model: The model.
        registry: Installed plugins.
        asked: Whether there is a question.
    """
    return min(
        (
            reader
            for reader in readers_of(model, registry)
            if reader.asks == asked and kind_of(reader) in registry.verbalizers and _reads_site(reader, model)
        ),
        key=_rank,
        default=None,
    )


def ask_remedy(reader: KnownReader) -> str:
    """Return the next step of a user who has no question, where the only published reader needs one."""
    return f'Ask a question of each text, as in --ask "Which topic is this about?": {reader.name} answers it.'


def kind_of(reader: KnownReader) -> str:
    """Return the name of the kind of verbalizer that runs a reader."""
    return reader.verbalizer.partition(":")[0]


def _rank(reader: KnownReader) -> tuple[bool, bool, float, str]:
    return bool(missing(reader)), not reader.reconstructs, reader.gigabytes or float("inf"), reader.name


def _reads_site(reader: KnownReader, model: ResolvedModel) -> bool:
    if not model.site:
        return True
    try:
        sites = {parse_site(site, model.info.n_layers) for site in reader.sites}
        return model.single_site() in sites
    except UsageError:  # of several sites, or of one that this model does not have
        return False


def listing(registry: Registry, readers: Iterable[KnownReader]) -> list[dict[str, Any]]:
    """Describe readers as records, ready for JSON: what each reads, what it needs, and what of that is here."""
    return [
        {
            "name": reader.name,
            "model": reader.model,
            "sites": list(reader.sites),
            "kind": kind_of(reader),
            "installed": kind_of(reader) in registry.verbalizers,
            "verbalizer": reader.verbalizer,
            "weights": list(reader.weights),
            "base": reader.base,
            "reconstructs": reader.reconstructs,
            "asks": reader.asks,
            "gigabytes": reader.gigabytes or None,
            "extra": reader.extra,
            "missing": missing(reader),
            "here": not missing(reader),
            "source": reader.source,
        }
        for reader in readers
    ]
