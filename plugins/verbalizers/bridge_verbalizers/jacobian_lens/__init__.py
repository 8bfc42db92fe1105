"""The Jacobian lens: next tokens that a vector promotes once it has been carried to the end of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError, UsageError
from bridge.files import expand_user
from bridge.hookspecs import hookimpl
from bridge.progress import Progress
from bridge.references import Site
from bridge.verbalizers import LensRecipe, LensSubject, Subject, Verbalizer, VerbalizerBackend
from bridge_verbalizers.jacobian_lens.fitting import fit, merge
from bridge_verbalizers.jacobian_lens.lens_file import read_record, read_sum
from bridge_verbalizers.jacobian_lens.released import open_released
from bridge_verbalizers.next_tokens import NextTokens, need_tokens

Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class JacobianLens(VerbalizerBackend):
    """Tokens that a vector promotes and suppresses after the model's mean Jacobian has moved it to the last block.

    It reads the stream after a block as `logit_lens` does, with J_l v in place of v: J_l is the mean derivative of the
    stream before the final norm with respect to the stream after block l, over texts, positions and all later
    positions. At the last block J_l is the identity, and both lenses give the same tokens.

    Attributes:
        lens: A released `.pt`, or a file from `bridge lens fit`; default: the file that it wrote for the model.
        top: Number of tokens on each side.
        any_model: Accept vectors of other weights than those that the lens was fitted on.

    Source: "Verbalizable Representations Form a Global Workspace in Language Models" (Transformer Circuits, 2026);
    github.com/anthropics/jacobian-lens.
    """

    lens: str = ""
    top: int = 10
    any_model: bool = False

    name = "jacobian_lens"
    summary = "names the next tokens that a vector promotes and suppresses, carried to the end by mean Jacobians"
    needs_checkpoint = True
    fits_lens = True

    def with_lens(self, file: Path) -> Self:
        """Return this verbalizer with the given lens file, unless its options name a lens."""
        return self if self.lens else replace(self, lens=str(file))

    def check_model(self, site: Site, n_layers: int, d_model: int, weights: str) -> None:
        """Refuse a model of another width or depth or other weights, and a layer that the lens does not have.

        Raises:
            UsageError: If `top` is below 1, there is no lens, or the site is not the stream after a block.
            BridgeError: If the lens is damaged, belongs to another model, or does not have the layer.
        """
        need_tokens(self.top)
        layer = _layer(site)
        if not self.lens:
            raise UsageError(
                "No Jacobian lens of this model is on this machine.",
                remedy=f"Fit one: bridge lens fit --model MODEL --layers {layer}; or give a released file: "
                "jacobian_lens:lens=FILE.",
            )
        file = expand_user(self.lens)
        if _is_ours(file):
            record = read_record(file)
            _need_width(file, record.d_model, d_model)
            if record.n_layers != n_layers:
                raise _other(file, f"It is of a model with {record.n_layers} blocks, and this one has {n_layers}.")
            if record.weights != weights and not self.any_model:
                raise _other(
                    file, f"It was fitted on other weights ({record.model}). any_model=true reads it all the same."
                )
            _need_layer(file, layer, record.layers, n_layers)
            return
        released = open_released(file)
        _need_width(file, len(next(iter(released.matrices.values()))), d_model)
        deepest = max(released.matrices)
        if deepest >= n_layers or released.target not in (None, -1, n_layers - 1):
            raise _other(file, f"It has layer {deepest}, or another last block, and this one has {n_layers} blocks.")
        _need_layer(file, layer, sorted(released.matrices), n_layers)

    def preview(self, d_model: int) -> list[str]:
        """Return lines about the data that the lens was fitted on.

        Raises:
            BridgeError: If the lens is missing or damaged.
        """
        if not self.lens:
            return []
        file = expand_user(self.lens)
        prompts = len(read_record(file).prompts) if _is_ours(file) else open_released(file).prompts
        return [f"Lens {file}, fitted on {prompts or 'an unknown number of'} texts."]

    def open(self, subject: Subject) -> Verbalizer:
        """Read the layer's matrix and load the model.

        Raises:
            UsageError: If `top` is below 1, or there is no lens.
            BridgeError: If the lens is damaged, or does not have the layer.
            ModelUnavailableError: If the weights are not available.
        """
        # The core's check compares the weights; all other properties are checked at every opening.
        replace(self, any_model=True).check_model(subject.site, subject.n_layers, subject.d_model, "")
        return NextTokens(subject.load(), self.top, self._matrix(_layer(subject.site), subject.n_layers))

    def fit_lens(self, subject: LensSubject, recipe: LensRecipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Fit a lens at several layers; continue an interrupted fit.

        Raises:
            UsageError: If no text is long enough, or the file holds another interrupted fit.
        """
        return fit(subject, recipe, out, progress)

    def merge_lenses(self, parts: Sequence[Path], out: Path) -> dict[str, Any]:
        """Merge lenses that were fitted on disjoint texts.

        Raises:
            BridgeError: If the lenses have different models, layers or recipes, or share a text.
        """
        return merge(parts, out)

    def _matrix(self, layer: int, n_layers: int) -> Floats | None:
        if layer == n_layers - 1:
            return None
        file = expand_user(self.lens)
        if not _is_ours(file):
            return open_released(file).matrix(layer)
        record = read_record(file)
        return (read_sum(file, record, layer) / len(record.prompts)).astype(np.float32)


def _layer(site: Site) -> int:
    """Return the number of the block whose output a site is.

    Raises:
        UsageError: If the site is not the stream between two blocks.
    """
    if site.point == "resid_post":
        return site.layer
    if site.point == "resid_pre" and site.layer:
        return site.layer - 1
    raise UsageError(
        f"A Jacobian lens reads the stream after a block, and these vectors are of {site}.",
        remedy=f"Refer to @{site.layer}.",
    )


def _is_ours(file: Path) -> bool:
    return file.suffix == ".safetensors"


def _need_width(file: Path, width: int, d_model: int) -> None:
    if width != d_model:
        raise _other(file, f"Its matrices are {width} wide, and the model's stream is {d_model} wide.")


def _need_layer(file: Path, layer: int, layers: Sequence[int], n_layers: int) -> None:
    # The last block's matrix is the identity; released files leave it out.
    if layer not in layers and layer != n_layers - 1:
        raise BridgeError(
            f"{file} has no layer {layer}.",
            cause=f"It has {', '.join(map(str, layers))}.",
            remedy=f"Refer to one of these, or fit it: bridge lens fit --model MODEL --layers {layer}.",
        )


def _other(file: Path, cause: str) -> BridgeError:
    return BridgeError(
        f"{file} is not a lens of this model.", cause=cause, remedy="Take the model's own, or fit one: bridge lens fit."
    )


@hookimpl
def register_verbalizers(register: Callable[[type[VerbalizerBackend]], None]) -> None:
    """Offer the Jacobian lens."""
    register(JacobianLens)
