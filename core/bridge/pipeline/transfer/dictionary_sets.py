"""The dictionaries of an audit or a run: the source's, the destination's own, and controls for matching decoders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from bridge.dictionaries import Dictionary, ReLU, SparseAutoencoder, initial_directions
from bridge.errors import UsageError
from bridge.pipeline.plan.groups import DictionaryOptions
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.single import Side
from bridge.pipeline.transfer.dictionaries import OWN, check_belongs, note_bos, open_dictionary, say_notes, shipped
from bridge.references import Site


@final
@dataclass(frozen=True)
class Dictionaries:
    """References of dictionaries: given by the user for one pair of sites, or in the checkpoints' own folders.

    Attributes:
        src: Reference of the source's dictionary; empty or `own` for the dictionary in the folder of its weights.
        dst: Reference of the destination's own dictionary, or empty.
        any_model: Accept a given dictionary whose file names another model.
    """

    src: str = ""
    dst: str = ""
    any_model: bool = False


@final
@dataclass(frozen=True)
class Opened:
    """The dictionaries of one pair of sites.

    Attributes:
        src: The source's dictionary.
        dst: The destination's own dictionary, or None.
        twins: Controls for matching decoders, by name.
    """

    src: Dictionary
    dst: Dictionary | None
    twins: Mapping[str, Dictionary]


def open_dictionaries(plan: Plan, src: Site, dst: Site, given: Dictionaries, runtime: Runtime) -> Opened:
    """Open the dictionaries of one pair of sites.

    Raises:
        UsageError: If the source has no dictionary at the site.
        BridgeError: If a dictionary cannot be read, or belongs to another width or site.
    """
    own = _dictionaries(plan.src, src, given.src, given.any_model, runtime)
    theirs = _dictionaries(plan.dst, dst, given.dst, given.any_model, runtime)
    if not own:
        raise UsageError(
            f"There is no dictionary of {plan.src.model.label(src)}.",
            cause="No dictionary was given, and the checkpoint's folder has none for this site.",
            remedy="Give one with --dictionary, or train one with tools/train_sae.py.",
        )
    first = next(iter(own.values()))
    twins: dict[str, Dictionary] = {}
    seed = first.origin.init_seed
    for name, other in list(theirs.items())[1:]:
        same = seed is not None and other.origin.init_seed == seed
        twins[f"{'same_init' if same else 'other'}:{name}"] = other
    features, d_model = first.directions.shape
    # The untrained dictionary takes the place of a destination dictionary, so the widths must be equal.
    if seed is not None and d_model == plan.dst.model.info.d_model:
        twins["own_untrained_init"] = _untrained(d_model, features, seed)
    return Opened(first, next(iter(theirs.values()), None), twins)


def available_dictionaries(plan: Plan, asked: DictionaryOptions, runtime: Runtime) -> Opened | None:
    """Open the dictionary that a run names, or those in the folders of the models' weights; None if there is none.

    Args:
        plan: The two models, at one site each.
        asked: Options with the reference of the dictionary.
        runtime: Plugins and progress.

    Raises:
        BridgeError: As `open_dictionaries`.
    """
    src, dst = plan.src.model.single_site(), plan.dst.model.single_site()
    if not asked.reference and str(src) not in shipped(plan.src.model):
        return None
    given = Dictionaries(asked.reference, any_model=asked.allow_other_model)
    return open_dictionaries(plan, src, dst, given, runtime)


def _dictionaries(side: Side, site: Site, given: str, any_model: bool, runtime: Runtime) -> dict[str, Dictionary]:
    named = given not in ("", OWN)
    # A dictionary in the folder of the weights belongs to them, even if the folder was renamed.
    any_model = any_model or not named
    paths: Mapping[str, Any] = {given: given} if named else shipped(side.model).get(str(site), {})
    found = {
        name: check_belongs(open_dictionary(str(path), runtime.registry), side.model, site, any_model=any_model)
        for name, path in paths.items()
    }
    for name, dictionary in found.items():
        if named:
            say_notes(dictionary, name, runtime)
        note_bos(dictionary, name, side.model.name, side.tokenizer, runtime)
    return found


def _untrained(d_model: int, features: int, seed: int) -> Dictionary:
    import numpy as np

    directions = initial_directions(d_model, features, seed)
    zeros = np.zeros(features, np.float32), np.zeros(d_model, np.float32)
    return SparseAutoencoder(directions.T.copy(), zeros[0], directions, zeros[1], ReLU())
