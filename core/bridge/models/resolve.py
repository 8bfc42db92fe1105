"""Resolution of a reference to a family, weights and a site: aliases, folders, GGUF files, hub ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from bridge.errors import BridgeError, ModelError, PluginError, StoreError, UsageError, did_you_mean
from bridge.files import expand_user, user_folder
from bridge.files.toml import read_toml
from bridge.models.adapter import Alias, ModelAdapter, ModelInfo
from bridge.models.gguf import checkpoint_of_gguf
from bridge.models.loaded import no_next_token
from bridge.models.refusals import refuse_unreadable
from bridge.models.weights import Weights, models_folder
from bridge.progress import Progress
from bridge.references import Reference, Site, is_path, parse_reference, parse_site, parse_sites
from bridge.store import Store


@final
@dataclass(frozen=True)
class ResolvedModel:
    """A resolved model.

    Attributes:
        reference: What the user wrote; a path is made absolute.
        adapter: The family that loads the model.
        weights: The weights of the model.
        info: Width and depth.
        site: The site text of the reference, or the alias's own.
        released_verbalizer: Text that names the verbalizer released for the model at this site, or empty.
        corpus: Default corpus if the user names none, or empty.
    """

    reference: Reference
    adapter: ModelAdapter
    weights: Weights
    info: ModelInfo
    site: str
    released_verbalizer: str = ""
    corpus: str = ""

    @property
    def name(self) -> str:
        """Model and variant, as the user wrote them."""
        variant = f":{self.reference.variant}" if self.reference.variant else ""
        revision = f"#{self.reference.revision}" if self.reference.revision else ""
        return f"{self.reference.model}{variant}{revision}"

    def single_site(self) -> Site:
        """Return the only site of the reference.

        Raises:
            UsageError: If the reference names no site, several sites, or a site that the model does not have.
        """
        self._need_site()
        return parse_site(self.site, self.info.n_layers)

    def all_sites(self) -> list[Site]:
        """Return the sites of the reference, one or several (`*`, `3,6,9`, `0-29:3`).

        Raises:
            UsageError: If the reference names no site, or a site that the model does not have.
        """
        self._need_site()
        return parse_sites(self.site, self.info.n_layers)

    def need_next_token(self) -> None:
        """Refuse a model that does not predict the next token, before weights are loaded.

        Raises:
            UsageError: If the model is not causal.
        """
        if not self.info.causal:
            raise no_next_token(self.name)

    def pinned(self) -> str:
        """Return a reference whose meaning does not change: with the site, and hub weights at their commit."""
        return str(replace(self.reference, site=self.site, revision=self.weights.revision or self.reference.revision))

    def label(self, site: Site) -> str:
        """Return the full reference of one site."""
        return str(Reference(self.reference.model, self.reference.variant, str(site), self.reference.revision))

    def _need_site(self) -> None:
        if not self.site:
            depth = self.info.n_layers
            raise UsageError(
                f"{self.name} needs a layer.",
                remedy=f"Write {self.name}@{depth * 2 // 3} (0 to {depth - 1}), or {self.name}@66%.",
            )


def user_aliases() -> dict[str, str]:
    """Read the user's own aliases, which override every plugin's: `aliases.toml` in the configuration folder.

    Raises:
        UsageError: If the file is not a flat TOML table of strings.
    """
    import platformdirs

    try:
        path = user_folder("BRIDGE_CONFIG_DIR", platformdirs.user_config_path) / "aliases.toml"
    except StoreError:  # who has no home folder has no aliases there
        return {}
    if not path.is_file():
        return {}
    try:
        table = read_toml(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is not readable TOML ({error}).") from error
    if not all(isinstance(value, str) for value in table.values()):
        raise UsageError(f'{path} must hold lines such as `mine = "./folder@12"`.')
    return table


def resolve(
    text: str,
    adapters: Mapping[str, ModelAdapter],
    store: Store,
    progress: Progress,
    more: Mapping[str, Alias] | None = None,
) -> ResolvedModel:
    """Find the family and the weights of a reference; nothing large is read.

    Args:
        text: The reference.
        adapters: Installed families by name.
        store: Store for unpacked GGUF files.
        progress: Receives the progress of unpacking.
        more: Aliases that no family provides, by name; the family is the one that claims the weights.

    Raises:
        UsageError: If the name is unknown.
        ModelUnavailableError: If the weights are neither here nor on a hub that can be reached.
        ModelError: If no installed family can load them.
    """
    reference = parse_reference(text)
    override = user_aliases().get(reference.model)
    site = reference.site
    target, variant, revision = reference.model, reference.variant, reference.revision
    if override:
        other = parse_reference(override)
        target, variant = other.model, variant or other.variant
        revision, site = revision or other.revision, site or other.site
    aliases = _aliases(adapters, more or {})
    adapter: ModelAdapter | None = None
    released = corpus = ""
    if target in aliases:
        alias, adapter = aliases[target]
        corpus = alias.corpus
        site = site or alias.site
        released = alias.verbalizer if site == alias.site and not variant else ""
        weights = _alias_weights(alias, variant, revision, store, progress)
    elif variant:
        raise UsageError(f"{target} is no alias, so it has no variant {variant}.", remedy=did_you_mean(target, aliases))
    elif is_path(target) or "/" in target or _by_hand(target):
        weights = _plain_weights(target, revision, store, progress)
        if is_path(target) and not override:
            # The reference must be valid in any working directory.
            reference = replace(reference, model=str(expand_user(target).absolute()))
    else:
        raise UsageError(
            f"There is no model {target}.",
            remedy=f"{did_you_mean(target, aliases)} Or give a hub id (user/model), a folder (./folder) or .gguf file.",
        )
    weights = weights.pinned()
    refuse_unreadable(weights)
    adapter = adapter or _claimed_by(weights, adapters)
    info = adapter.describe(weights)
    return ResolvedModel(reference, adapter, weights, info, site, released, corpus or adapter.corpus())


def _aliases(
    adapters: Mapping[str, ModelAdapter], more: Mapping[str, Alias]
) -> dict[str, tuple[Alias, ModelAdapter | None]]:
    """Return every alias by name, with its family if a family provides it."""
    aliases: dict[str, tuple[Alias, ModelAdapter | None]] = {name: (alias, None) for name, alias in more.items()}
    return aliases | {alias.name: (alias, adapter) for adapter in adapters.values() for alias in adapter.aliases()}


def by_hand_folder(alias: Alias, variant: str = "") -> Path:
    """Return the folder for manually placed weights of an alias."""
    return models_folder() / (f"{alias.name}-{variant}" if variant else alias.name)


def _alias_weights(alias: Alias, variant: str, revision: str, store: Store, progress: Progress) -> Weights:
    if variant and variant not in alias.variants:
        raise UsageError(
            f"{alias.name} has no variant {variant}.",
            remedy=f"It has {', '.join(alias.variants) or 'none'}.",
        )
    local = by_hand_folder(alias, variant)
    if local.is_dir() and not revision:
        return _folder_weights(local, store, progress)
    return _plain_weights(alias.variants[variant] if variant else alias.model, revision, store, progress)


def _plain_weights(target: str, revision: str, store: Store, progress: Progress) -> Weights:
    path = expand_user(target)
    if target.endswith(".gguf") or path.is_dir() or is_path(target):
        return _folder_weights(_checkpoint_of_run(path, revision) if revision else path.absolute(), store, progress)
    if _by_hand(target) and not revision:
        return _folder_weights(models_folder() / target, store, progress)
    return Weights(target, revision)


def _checkpoint_of_run(path: Path, revision: str) -> Path:
    """Return the sub-folder that a training run left for one step, as in `my-run/checkpoint-500`."""
    folder = path.absolute() / revision
    if Path(revision).name != revision or not folder.is_dir():
        there = sorted(child.name for child in path.glob("*/") if (child / "config.json").is_file())
        raise UsageError(
            f"{path} has no revision {revision}.",
            cause="A revision of a folder on this machine is a checkpoint in a folder of its own inside it.",
            remedy=f"It holds {', '.join(there) or 'none'}.",
        )
    return folder


def _by_hand(target: str) -> bool:
    return (models_folder() / target).is_dir()


def _folder_weights(path: Path, store: Store, progress: Progress) -> Weights:
    if not path.exists():
        raise UsageError(f"There is no file or folder {path}.")
    files = [path] if path.is_file() else sorted(path.glob("*.gguf"))
    if path.is_dir() and ((path / "config.json").is_file() or not files):
        return Weights(str(path))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise UsageError(f"{path} holds several GGUF files ({names}).", remedy="Name the one you mean.")
    return Weights(str(checkpoint_of_gguf(files[0], store, progress)))


def _claimed_by(weights: Weights, adapters: Mapping[str, ModelAdapter]) -> ModelAdapter:
    failed: dict[str, Exception] = {}
    claims: Sequence[ModelAdapter] = [adapter for adapter in adapters.values() if _claims(adapter, weights, failed)]
    preferred = [adapter for adapter in claims if not adapter.fallback] or claims
    if not preferred:
        raise ModelError(
            f"No installed model family can load {weights.source}.",
            cause="It has no config.json, or its model_type is not known here."
            + "".join(f" The family {name} failed on it: {error!r}." for name, error in failed.items()),
            remedy=f"Installed: {', '.join(sorted(adapters)) or 'none'}. A family is a plugin: see CONTRIBUTING.md.",
        )
    if len(preferred) > 1:
        raise PluginError(
            f"The families {' and '.join(adapter.name for adapter in preferred)} both claim {weights.source}.",
            remedy="Disable one with BRIDGE_DISABLE_PLUGINS.",
        )
    return preferred[0]


def _claims(adapter: ModelAdapter, weights: Weights, failed: dict[str, Exception]) -> bool:
    try:
        return bool(adapter.claims(weights))  # of an array, this raises an error
    except PluginError as error:
        failed[adapter.name] = error
        return False
    except BridgeError:
        raise
    except Exception as error:  # a family that fails on another family's weights must not block that family
        failed[adapter.name] = error
        return False
