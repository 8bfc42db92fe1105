"""The layout of released NLA checkpoints, as a reader format."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

from bridge.errors import BridgeError
from bridge.progress import Progress
from bridge.readers import (
    Affine,
    Answer,
    Injection,
    Reader,
    ReaderFormat,
    ReaderStandIn,
    Reconstruction,
    Weights,
    halves,
)
from bridge.verbalizers import Recipe, Subject
from bridge_verbalizers.formats.files import sidecar_folder
from bridge_verbalizers.formats.meta import is_lens, read_meta
from bridge_verbalizers.nla.layout import AR, AV, HEAD, prompt_of
from bridge_verbalizers.nla.sidecar import NAME as SIDECAR
from bridge_verbalizers.nla.sidecar import Extraction, Sidecar, Tokens, read_sidecar, write_sidecar

ADAPTER = "adapter_config.json"


@final
class NLAFormat(ReaderFormat):
    """Checkpoints in the released layout: a folder that holds `av/` and maybe `ar/`, or an AV itself."""

    name = "nla"
    summary = "reads released and home-made NLA checkpoints (an AV, and its AR) through transformers"
    headers = (SIDECAR, f"*/{SIDECAR}")

    def recognises(self, folder: Path) -> bool:
        """Recognise folders with a sidecar, or with an `av/` inside, of whole checkpoints and of no other trainer."""
        av, _ = halves(folder)
        if not ((folder / SIDECAR).is_file() or (folder / AV).is_dir()) or (av / ADAPTER).is_file():
            return False
        try:
            meta = read_meta(sidecar_folder(av) or av)
        except BridgeError:  # describe says what is wrong
            return True
        return meta.kind == "nla_model" and not is_lens(meta)

    def describe(self, folder: Path, reconstructor: Path | None = None) -> Reader:
        """Read the sidecars of both halves.

        Raises:
            BridgeError: If one is missing or damaged.
        """
        av, ar = halves(folder, reconstructor)
        sidecar = read_sidecar(av, "av")
        found = reader_of(sidecar, Weights(folder=av))
        if ar is None:
            return found
        return dataclasses.replace(found, reconstruction=reconstruction_of(read_sidecar(ar, "ar"), ar))

    def example(self, folder: Path) -> None:
        """Write the sidecar of an AV."""
        (folder / AV).mkdir(parents=True)
        tokens = Tokens(
            injection_char="~", injection_token_id=98, injection_left_neighbor_id=1, injection_right_neighbor_id=2
        )
        extraction = Extraction(injection_scale=30.0, layer_index=1)
        templates = {AV: "<concept>{injection_char}</concept>"}
        sidecar = Sidecar(role="av", d_model=32, extraction=extraction, tokens=tokens, prompt_templates=templates)
        write_sidecar(folder / AV, sidecar, {})

    def write_stand_in(self, folder: Path, like: ReaderStandIn) -> None:
        """Write both halves, in one folder or in two as the real ones are."""
        from bridge_verbalizers.nla.stand_in import write_stand_in

        write_stand_in(folder, like)

    def train(self, subject: Subject, recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Train an AV by LoRA, and an AR, and write them to `out/av` and `out/ar`."""
        from bridge_verbalizers.nla.train_ar import train_ar
        from bridge_verbalizers.nla.train_av import train_av
        from bridge_verbalizers.training.examples import gather_examples
        from bridge_verbalizers.training.job import Job

        progress.note(f"Choosing examples for {subject.name}.")
        data = gather_examples(subject, recipe)
        counts = {"feature_examples": len(data.features.x), "examples": len(data.rows.x)}
        job = Job(subject, recipe, out, progress, counts)
        measured: dict[str, Any] = {AV: train_av(job, data)}
        if recipe.reconstructor:
            measured[AR] = train_ar(job, data)
        return measured


def reader_of(sidecar: Sidecar, weights: Weights) -> Reader:
    """Return the reader that an AV's sidecar describes.

    The vector replaces the embedding of the injection character, or, if the sidecar has `injection`, is added to the
    output of a block at that token.
    """
    scale, added = sidecar.injection_scale, sidecar.extraction.injection
    injection = Injection(length="raw" if scale is None else float(scale))
    if added:
        injection = Injection(block=added.block, how=added.how, length="place")
    return Reader(
        d_model=sidecar.d_model,
        sites=(sidecar.site,) if sidecar.site else (),
        model=sidecar.extraction.base_model,
        weights=weights,
        prompt=prompt_of(sidecar),
        injection=injection,
        # As the released client, which asks its server for skip_special_tokens=False.
        answer=Answer(rule="tags", special_tokens=True),
    )


def reconstruction_of(sidecar: Sidecar, folder: Path) -> Reconstruction:
    """Return the reconstructor that an AR's sidecar describes."""
    suffix: Sequence[int] = sidecar.tokens.critic_suffix_ids or ()
    return Reconstruction(
        d_model=sidecar.d_model,
        site=sidecar.site,
        weights=Weights(folder=folder),
        block=sidecar.extraction.layer_index,
        template=sidecar.template,
        suffix=tuple(suffix),
        head=Affine(file=folder / HEAD),
    )
