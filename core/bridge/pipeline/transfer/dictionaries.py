"""Find a dictionary, read it with the format that recognises it, and check that it belongs to the model."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from bridge.corpus.documents import Document
from bridge.dictionaries import Dictionary, DictionaryFormat
from bridge.errors import BridgeError, PluginError, StoreError, UsageError
from bridge.files import expand_user
from bridge.files.sealed import need_files, read_sealed
from bridge.hub_errors import refusal_of
from bridge.models import Tokenizer, Weights
from bridge.models.resolve import ResolvedModel
from bridge.models.weights import unavailable
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.fit.record import Listed
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.transfer.origins import held_to, reader_of, reader_of_side
from bridge.plugins.registry import Registry
from bridge.references import Site

HUB = "hub:"
OWN = "own"
"""Reference of the dictionary in the folder of a model's weights."""

RECORD = "transfer.json"
"""File beside a transferred dictionary, with its provenance, its scores and the hashes of its files."""

FOLDER = "dictionaries"
"""Subfolder of a checkpoint's folder: `dictionaries/SITE/NAME`, in any format."""


def open_dictionary(reference: str, registry: Registry) -> Dictionary:
    """Read a dictionary from a path or `hub:user/repo/subfolder`, in any installed format.

    Raises:
        UsageError: If the path does not exist.
        BridgeError: If no format, or more than one, recognises it; if it is damaged; if the hub cannot be reached.
        CorruptArtifactError: If bridge transferred it, and its files are not those that were written.
    """
    path = _from_hub(reference[len(HUB) :]) if reference.startswith(HUB) else expand_user(reference)
    if not path.exists():
        raise UsageError(f"There is no dictionary {path}.", remedy="Give a file, a folder, or hub:user/repo/subfolder.")
    if (record := path / RECORD).is_file():
        remedy = f"Copy the whole folder again, or repeat the command. Without {RECORD} it is read as any other one."
        need_files(record, read_sealed(record, Listed, remedy).files, (), remedy)
    formats = [fmt for fmt in registry.dictionary_formats.values() if _recognises(fmt, path)]
    known = "; ".join(f"{fmt.name} ({fmt.summary})" for fmt in registry.dictionary_formats.values())
    if len(formats) != 1:
        found = " and ".join(fmt.name for fmt in formats)
        raise BridgeError(
            f"{path} is a dictionary in {f'several formats: {found}' if formats else 'no installed format'}.",
            cause="" if formats else "One of its files is missing or incomplete, or its format needs a plugin.",
            remedy=f"Installed formats: {known or 'none'}.",
        )
    try:
        return formats[0].load(path)
    except BridgeError:
        raise
    except Exception as error:  # a plugin may raise any error; the message must name the plugin
        raise PluginError(
            f"The format {formats[0].name} failed to read {path} ({type(error).__name__}: {error}).",
            cause="The plugin is broken, or the file is damaged in a way that the plugin does not handle.",
        ) from error


def open_own(reference: str, model: ResolvedModel, registry: Registry) -> Dictionary:
    """Read a dictionary of a model, as `open_dictionary`; `own` is the first dictionary in its weights' folder.

    Raises:
        UsageError: If the folder has no dictionary.
        BridgeError: As `open_dictionary`.
    """
    if reference != OWN:
        return open_dictionary(reference, registry)
    there = shipped(model).get(str(model.single_site()), {})
    if not there:
        raise UsageError(
            f"The folder of the weights of {model.label(model.single_site())} has no dictionary.",
            remedy="Give one, as --dictionary ./my-sae or hub:user/repo/subfolder.",
        )
    return open_dictionary(str(next(iter(there.values()))), registry)


def open_source(bridge: Bridge, reference: str, runtime: Runtime, *, any_model: bool = False) -> Dictionary:
    """Read a dictionary of a bridge's source, and check its width, site, model and BOS.

    Args:
        bridge: The bridge.
        reference: A path, or hub:user/repo/subfolder.
        runtime: Plugins, and progress for notes.
        any_model: Accept a dictionary whose file names another model.

    Raises:
        UsageError: As `open_dictionary`.
        BridgeError: As `open_dictionary`, or if its width, site or model differs.
    """
    reader = reader_of_side(bridge.provenance["src"], bridge.src, bridge.fitted.d_src)
    reader = replace(reader, point_of=partial(_point_of, bridge.src, runtime))
    dictionary = held_to(open_dictionary(reference, runtime.registry), reader, any_model=any_model)
    say_notes(dictionary, reference, runtime)
    if dictionary.origin.prepends_bos is not None:
        try:
            model = runtime.resolve(bridge.src)
            note_bos(dictionary, reference, model.name, model.adapter.tokenizer(model.weights), runtime)
        except BridgeError as error:  # a bridge is useful even without its models
            runtime.progress.note(f"The BOS of {reference} was not compared with {bridge.src}: {error.what}")
    return dictionary


def _point_of(reference: str, runtime: Runtime, site: Site) -> Site:
    """Name a site of a model by its point, if the model is available here."""
    try:
        model = runtime.resolve(reference)
        return model.adapter.point_of(model.weights, site)
    except BridgeError as error:
        runtime.progress.note(f"Which point of {reference} {site} is was not looked up: {error.what}")
        return site


def check_belongs(dictionary: Dictionary, model: ResolvedModel, site: Site, *, any_model: bool = False) -> Dictionary:
    """Return a dictionary for a model at a site, or refuse a dictionary of another width, site or model.

    Raises:
        BridgeError: As `held_to`.
    """
    return held_to(dictionary, reader_of(model, site), any_model=any_model)


def say_notes(dictionary: Dictionary, name: str, runtime: Runtime) -> None:
    """Show the user the format's notes about the dictionary."""
    for note in dictionary.origin.notes:
        runtime.progress.note(f"The dictionary {name}: {note}")


def note_bos(dictionary: Dictionary, name: str, model: str, tokenizer: Tokenizer, runtime: Runtime) -> None:
    """Warn the user if a dictionary was trained with BOS and the model reads texts without BOS, or the reverse.

    This is not an error: the dictionary may still work, as its scores show.

    Args:
        dictionary: A dictionary, whose origin may state whether its texts began with BOS.
        name: Name of the dictionary.
        model: Name of the model.
        tokenizer: The model's tokenizer.
        runtime: Receives the note.
    """
    trained = dictionary.origin.prepends_bos
    begins = bool((tokenizer.encode([Document("a", "a")], 8)[0].ends[:1] < 0).any())
    if trained is not None and trained != begins:
        runtime.progress.note(
            f"The dictionary {name} was trained on texts {'with' if trained else 'without'} BOS, but {model} reads "
            f"texts {'with' if begins else 'without'} BOS: features may fire differently from their documentation."
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
            f"{HUB}{name} is not a hub reference.",
            remedy="Write hub:user/repo/subfolder, or hub:user/repo@revision/subfolder.",
        )
    weights = Weights(f"{user}/{repository}", revision)
    try:
        snapshot = snapshot_download(
            weights.source, revision=revision or None, allow_patterns=[f"{folder}/*" if folder else "*"]
        )
    except Exception as error:  # the hub's client raises many error types, all of which mean: not available
        found, refused = unavailable(weights, error), refusal_of(weights.source, revision, error)
        by_hand = "Download its folder and give the path."
        raise BridgeError(
            f"The dictionary {HUB}{name} could not be downloaded. {found.what}",
            cause=found.cause,
            # The remedy for a model, a folder of its files, does not apply to a dictionary.
            remedy=(refused.remedy if refused else found.remedy if isinstance(found, StoreError) else "") or by_hand,
        ) from error
    return Path(snapshot) / folder


def _recognises(fmt: DictionaryFormat, path: Path) -> bool:
    try:
        return bool(fmt.recognises(path))  # of an array, this raises an error
    except Exception:  # an error of one format on another format's files must not affect the other format
        return False
