"""Find a dictionary, read it with whichever format knows it, and refuse one that belongs to another site or width."""

from __future__ import annotations

from pathlib import Path

from bridge.dictionaries import Dictionary
from bridge.errors import BridgeError, PluginError, UsageError
from bridge.models.resolve import ResolvedModel
from bridge.plugins import Registry
from bridge.references import Site, parse_site

HUB = "hub:"
FOLDER = "dictionaries"
"""Inside a checkpoint's folder: `dictionaries/SITE/NAME`, in any format."""


def open_dictionary(reference: str, registry: Registry) -> Dictionary:
    """Read a dictionary from a path or `hub:user/repo/subfolder`, in whichever installed format it is.

    Raises:
        UsageError: If there is nothing at that path.
        BridgeError: If no format, or more than one, knows it; if it is damaged; if the hub cannot be reached.
    """
    path = _from_hub(reference[len(HUB) :]) if reference.startswith(HUB) else Path(reference).expanduser()
    if not path.exists():
        raise UsageError(f"There is no dictionary {path}.", remedy="Give a file, a folder, or hub:user/repo/subfolder.")
    formats = [fmt for fmt in registry.dictionary_formats.values() if fmt.recognises(path)]
    known = "; ".join(f"{fmt.name} ({fmt.summary})" for fmt in registry.dictionary_formats.values())
    if len(formats) != 1:
        found = " and ".join(fmt.name for fmt in formats)
        raise BridgeError(
            f"{path} is a dictionary in {f'the formats {found} at once' if formats else 'no format known here'}.",
            cause="" if formats else "A file of it is missing or half-written, or its format needs a plugin.",
            remedy=f"Installed formats: {known or 'none'}.",
        )
    try:
        return formats[0].load(path)
    except BridgeError:
        raise
    except Exception as error:  # a plugin may fail in any way; the user must learn which one it was
        raise PluginError(
            f"The format {formats[0].name} failed to read {path} ({type(error).__name__}: {error}).",
            cause="The plugin is broken, or the file is damaged in a way that it does not expect.",
        ) from error


def check_belongs(dictionary: Dictionary, model: ResolvedModel, site: Site) -> Dictionary:
    """Refuse a dictionary of another width or site than the model's.

    Raises:
        BridgeError: Naming what differs.
    """
    width = dictionary.directions.shape[1]
    if width != model.info.d_model:
        raise BridgeError(
            f"The dictionary is {width} wide, and {model.name} is {model.info.d_model} wide.",
            cause="It was trained on another model.",
        )
    said = dictionary.origin.site
    if said and parse_site(said, model.info.n_layers) != site:
        raise BridgeError(
            f"The dictionary says that it belongs at {said}, and the reference is {model.label(site)}.",
            remedy=f"Write {model.name}@{said}, or give the dictionary of {site}.",
        )
    return dictionary


def shipped(model: ResolvedModel) -> dict[str, dict[str, Path]]:
    """Return the dictionaries in a checkpoint's own folder: paths by site text and name, in the order of names."""
    root = model.weights.folder / FOLDER if model.weights.folder else None
    if root is None or not root.is_dir():
        return {}
    return {
        site.name: {path.name: path for path in sorted(site.iterdir()) if path.is_dir()}
        for site in sorted(root.iterdir())
        if site.is_dir()
    }


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    user, _, rest = name.partition("/")
    repository, _, folder = rest.partition("/")
    if not user or not repository:
        raise UsageError(f"{HUB}{name} is no hub reference.", remedy="Write hub:user/repo/subfolder.")
    try:
        snapshot = snapshot_download(f"{user}/{repository}", allow_patterns=[f"{folder}/*" if folder else "*"])
    except Exception as error:  # the hub's client raises many kinds, all meaning: not to be had
        raise BridgeError(
            f"The dictionary {name} could not be fetched from the hub ({type(error).__name__}: {error}).",
            cause="The name is misspelt, the repository is private, or there is no network.",
            remedy="Fetch its folder by hand and give the path.",
        ) from error
    return Path(snapshot) / folder
