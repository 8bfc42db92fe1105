"""Find a dictionary, read it with whichever format knows it, and hold it to the model that it is used on."""

from __future__ import annotations

from pathlib import Path

from bridge.corpus.documents import Document
from bridge.dictionaries import Dictionary, DictionaryFormat
from bridge.errors import BridgeError, PluginError, StoreError, UsageError
from bridge.hub_errors import refusal_of
from bridge.models import Tokenizer, Weights
from bridge.models.resolve import ResolvedModel
from bridge.models.weights import unavailable
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.transfer.origins import held_to, reader_of, reader_of_side
from bridge.plugins.registry import Registry
from bridge.references import Site

HUB = "hub:"
OWN = "own"
"""Means the dictionary that lies with a model's weights."""

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
    formats = [fmt for fmt in registry.dictionary_formats.values() if _recognises(fmt, path)]
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


def open_own(reference: str, model: ResolvedModel, registry: Registry) -> Dictionary:
    """Read a dictionary of a model, as `open_dictionary`; `own` means the first that lies with its weights.

    Raises:
        UsageError: If none does.
        BridgeError: As `open_dictionary`.
    """
    if reference != OWN:
        return open_dictionary(reference, registry)
    there = shipped(model).get(str(model.single_site()), {})
    if not there:
        raise UsageError(
            f"No dictionary lies with the weights of {model.label(model.single_site())}.",
            remedy="Give one, as --dictionary ./my-sae or hub:user/repo/subfolder.",
        )
    return open_dictionary(str(next(iter(there.values()))), registry)


def open_source(bridge: Bridge, reference: str, runtime: Runtime, *, any_model: bool = False) -> Dictionary:
    """Read a dictionary of a bridge's source, and hold it to the width, site, model and BOS of that model.

    Args:
        bridge: The bridge.
        reference: A path, or hub:user/repo/subfolder.
        runtime: Plugins, and who is told what is noticed.
        any_model: Take it though its file names another model.

    Raises:
        UsageError: As `open_dictionary`.
        BridgeError: As `open_dictionary`, or if it is of another width, site or model.
    """
    reader = reader_of_side(bridge.provenance["src"], bridge.src, bridge.fitted.d_src)
    dictionary = held_to(open_dictionary(reference, runtime.registry), reader, any_model=any_model)
    say_notes(dictionary, reference, runtime)
    if dictionary.origin.prepends_bos is not None:
        try:
            model = runtime.resolve(bridge.src)
            note_bos(dictionary, reference, model.name, model.adapter.tokenizer(model.weights), runtime)
        except BridgeError as error:  # a bridge is of use where its models are not
            runtime.progress.note(f"Whether {reference} fits the BOS of {bridge.src} was not checked: {error.what}")
    return dictionary


def check_belongs(dictionary: Dictionary, model: ResolvedModel, site: Site, *, any_model: bool = False) -> Dictionary:
    """Return a dictionary as it reads a model at a site, or refuse one of another width, site or model.

    Raises:
        BridgeError: As `held_to`.
    """
    return held_to(dictionary, reader_of(model, site), any_model=any_model)


def say_notes(dictionary: Dictionary, name: str, runtime: Runtime) -> None:
    """Tell the user what the file's format has to say of how it is read."""
    for note in dictionary.origin.notes:
        runtime.progress.note(f"The dictionary {name}: {note}")


def note_bos(dictionary: Dictionary, name: str, model: str, tokenizer: Tokenizer, runtime: Runtime) -> None:
    """Tell the user where a dictionary was trained with BOS and the model reads texts without, or the other way round.

    No error: the dictionary may serve all the same, which its scores show.

    Args:
        dictionary: Whose origin may say whether its texts began with BOS.
        name: What to call it.
        model: What to call the model.
        tokenizer: The model's.
        runtime: Who is told.
    """
    trained = dictionary.origin.prepends_bos
    begins = bool((tokenizer.encode([Document("a", "a")], 8)[0].ends[:1] < 0).any())
    if trained is not None and trained != begins:
        runtime.progress.note(
            f"The dictionary {name} was trained on texts {'with' if trained else 'without'} BOS, and {model} reads "
            f"them {'with' if begins else 'without'} it: its features may fire otherwise than its authors say."
        )


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
    named, _, folder = rest.partition("/")
    repository, at, revision = named.partition("@")
    if not user or not repository or (at and not revision):
        raise UsageError(
            f"{HUB}{name} is no hub reference.",
            remedy="Write hub:user/repo/subfolder, or hub:user/repo@revision/subfolder.",
        )
    weights = Weights(f"{user}/{repository}", revision)
    try:
        snapshot = snapshot_download(
            weights.source, revision=revision or None, allow_patterns=[f"{folder}/*" if folder else "*"]
        )
    except Exception as error:  # the hub's client raises many kinds, all meaning: not to be had
        found, refused = unavailable(weights, error), refusal_of(weights.source, revision, error)
        by_hand = "Fetch its folder by hand and give the path."
        raise BridgeError(
            f"The dictionary {HUB}{name} could not be fetched. {found.what}",
            cause=found.cause,
            # What helps a model, a folder of its files, helps no dictionary.
            remedy=(refused.remedy if refused else found.remedy if isinstance(found, StoreError) else "") or by_hand,
        ) from error
    return Path(snapshot) / folder


def _recognises(fmt: DictionaryFormat, path: Path) -> bool:
    try:
        return fmt.recognises(path)
    except Exception:  # a format that stumbles over another's files must not take those from it
        return False
