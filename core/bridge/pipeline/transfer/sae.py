"""Transfer a dictionary through a bridge; checks shared by all transfers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from bridge.dictionaries import Dictionary, Origin, SparseAutoencoder
from bridge.errors import BridgeError, UsageError, did_you_mean
from bridge.files import need_free, write_new_folder
from bridge.files.sealed import sha256_of, write_sealed
from bridge.maps import AffineMap
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.plan.runtime import Runtime, open_runtime
from bridge.pipeline.result import Result
from bridge.pipeline.transfer.dictionaries import RECORD, open_source
from bridge.pipeline.transfer.held_out import HeldOutRows, OpenRows, score_dictionaries
from bridge.pipeline.transfer.way_back import affine, reverse_map
from bridge.references import parse_reference, parse_site


@final
@dataclass(frozen=True)
class TransferredDictionary(Result):
    """A dictionary, transferred through a bridge.

    Attributes:
        dictionary: The written dictionary; its arrays are numpy, float32.
        held_out: Explained variance by arm: `ev`, `low`, `high`, `n`. `mapped` is the transferred dictionary on the
            destination, `mispaired` the dictionary transferred by a map fitted on mispaired rows, `self` the given
            dictionary on the source. Empty if not scored.
        provenance: Source, destination, map, reverse map, and the given dictionary.
    """

    dictionary: SparseAutoencoder
    held_out: dict[str, dict[str, Any]]
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        about, scored = self.provenance, self.held_out.get("mapped")
        worth = f"EV {scored['ev']:.3f} on {scored['n']} held-out rows" if scored else "not scored"
        return f"TransferredDictionary({about['src']} -> {about['dst']}: {worth})"

    def document(self) -> dict[str, Any]:
        """Return the content of `transfer.json`.

        Returns:
            The provenance, `features`, `d_model`, `site` and `held_out`, ready for `json.dump`.
        """
        features, d_model = self.dictionary.directions.shape
        shape = {"features": features, "d_model": d_model, "site": self.dictionary.origin.site}
        return {**self.provenance, **shape, "held_out": self.held_out}

    def records(self) -> list[dict[str, Any]]:
        """Return a row for each arm.

        Returns:
            Rows of `arm`, `ev`, `low`, `high` and `n`.
        """
        return [{"arm": arm, **scored} for arm, scored in self.held_out.items()]


def transfer_sae(
    bridge: Bridge,
    reference: str,
    out: Path,
    back: Bridge | None = None,
    runtime: Runtime | None = None,
    *,
    open_rows: OpenRows | None = None,
    any_model: bool = False,
) -> TransferredDictionary:
    """Write a sparse autoencoder of the source model as an autoencoder of the destination, in SAELens layout.

    The reverse map is folded into the encoder and the map into the decoder, so that the file needs no bridge. The
    result is scored on held-out rows.

    Args:
        bridge: Bridge from the dictionary's model to the other model.
        reference: The source's dictionary: a path, or hub:user/repo/subfolder.
        out: The folder to write; refuses to overwrite.
        back: A bridge fitted from destination to source; default: the reverse map of the bridge.
        runtime: Plugins, store and progress; default: those of this machine, without progress output.
        open_rows: Opens the rows for scoring, after all other checks; None for no scores.
        any_model: Accept a dictionary whose file names another model.

    Returns:
        The written dictionary and its scores.

    Raises:
        UsageError: If `out` exists, or `back` is between other models.
        MapError: If a map is not affine, or there is no reverse map.
        BridgeError: If the dictionary's width, site or model differs from the source, or it is not an autoencoder.
    """
    need_free(out)
    runtime = runtime or open_runtime()
    formats = runtime.registry.dictionary_formats
    if "saelens" not in formats:
        raise UsageError("The format saelens is not installed.", remedy=did_you_mean("", formats))
    forward, (inverse, which) = affine(bridge.fitted, bridge), reverse_map(bridge, back)
    dictionary = open_source(bridge, reference, runtime, any_model=any_model)
    if not isinstance(dictionary, SparseAutoencoder):
        raise BridgeError(f"{reference} is a {type(dictionary).__name__}; only autoencoders can be transferred.")
    side = bridge.provenance["dst"]
    site = parse_site(side["site"], side["n_layers"])
    model = str(replace(parse_reference(bridge.dst), site=""))
    place = str(site) if site.is_module else f"blocks.{site.layer}.hook_{site.point}"
    origin = Origin(model, place, None)
    carried = dictionary.carried(forward, inverse, origin)
    rows = open_rows() if open_rows else None
    scored = score_dictionaries(rows, dictionary, carried, _control(rows, dictionary, origin)) if rows else {}
    provenance: dict[str, Any] = {
        "src": bridge.src,
        "dst": bridge.dst,
        "map": bridge.map,
        "back": which,
        "dictionary": reference,
    }
    provenance |= {"notes": list(dictionary.origin.notes)} if dictionary.origin.notes else {}
    result = TransferredDictionary(carried, scored, provenance)

    def fill(folder: Path) -> None:
        formats["saelens"].save(carried, folder)
        files = sha256_of(folder, [path.name for path in folder.iterdir()])
        write_sealed(folder / RECORD, {**result.document(), "files": files})

    write_new_folder(out, fill)
    return result


def _control(rows: HeldOutRows, dictionary: SparseAutoencoder, origin: Origin) -> Dictionary | None:
    control = rows.mispaired()
    if control is None or not isinstance(control.forward, AffineMap) or not isinstance(control.back, AffineMap):
        return None
    return dictionary.carried(control.forward, control.back, origin)
