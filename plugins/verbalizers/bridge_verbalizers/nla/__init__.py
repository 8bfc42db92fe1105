"""Natural-language autoencoders: checkpoints that read a vector and write what it means, and the way back."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from bridge.errors import BridgeError, ShapeError, UsageError
from bridge.hookspecs import hookimpl
from bridge.models import Placement, TransformersTokenizer, Weights
from bridge.models.refusals import refuse_unreadable
from bridge.progress import Progress
from bridge.verbalizers import Recipe, Subject, Verbalizer, VerbalizerBackend, check_site
from bridge_verbalizers.nla.checkpoint import AR, AV, Role, fingerprint, halves, load_module, load_tokenizer
from bridge_verbalizers.nla.sidecar import NAME as SIDECAR

if TYPE_CHECKING:
    from bridge_verbalizers.nla.decoding import Speaker


@final
@dataclasses.dataclass(frozen=True)
class NLA(VerbalizerBackend):
    """Checkpoints in the released layout, run by transformers.

    Attributes:
        checkpoint: Folder that holds `av/` and, where there is one, `ar/`, as `bridge verbalizer train` writes it; or
            the folder of an AV itself; or `hub:user/repo`.
        ar: Folder or `hub:user/repo` of the AR, where it does not lie beside the AV.
        max_new_tokens: How many tokens may be written of a vector; what ends sooner costs less.
        temperature: Of sampling; 0 always takes the likeliest token.
        samples: How many texts are drawn of a vector; its explanation is all of them, a line each.
        batch: How many sequences are run at once; a direction in B backgrounds takes B, and 2 B in contrast. 0 for as
            many as suit the model's width: see `sequences_at_once`.
        any_site: Read vectors of another site than the sidecar names.
    """

    name = "nla"
    needs_checkpoint = True
    summary = "reads released and home-made NLA checkpoints (an AV, and its AR) through transformers"

    checkpoint: str = ""
    ar: str = ""
    max_new_tokens: int = 200
    temperature: float = 0.0
    samples: int = 1
    batch: int = 0
    any_site: bool = False

    @classmethod
    def of_folder(cls, folder: Path) -> str:
        """Read folders with a sidecar, or with an `av/` inside."""
        return f"checkpoint={folder}" if (folder / SIDECAR).is_file() or (folder / AV).is_dir() else ""

    def open(self, subject: Subject) -> Verbalizer:
        """Find AV and AR, and check what small files tell; the weights of each are loaded when it is first asked."""
        from bridge_verbalizers.nla.prompt import checked_prompt
        from bridge_verbalizers.nla.reconstructor import Reconstructor
        from bridge_verbalizers.nla.sidecar import read_sidecar
        from bridge_verbalizers.nla.verbalizer import NLAVerbalizer

        self._check()
        av, ar = halves(self.checkpoint, self.ar, subject.name)
        for folder in (av, ar) if ar else (av,):
            refuse_unreadable(Weights(str(folder.absolute())))
        site = "" if self.any_site else site_of([(AV, av), (AR, ar)] if ar else [(AV, av)])
        check_site(site, subject.site, subject.n_layers, f"The verbalizer in {self.checkpoint}")
        sidecar = read_sidecar(av, "av")
        _check_width(av, sidecar.d_model, subject)
        batch = self.batch or sequences_at_once(subject.d_model)
        reconstructor = None
        if ar is not None:
            other = read_sidecar(ar, "ar")
            _check_width(ar, other.d_model, subject)
            reconstructor = functools.partial(Reconstructor, ar, other, subject.placement, batch)
        tokenizer = load_tokenizer(av)
        prompt, at = checked_prompt(tokenizer.tokenizer, sidecar)
        return NLAVerbalizer(
            functools.partial(load_speaker, av, sidecar.d_model, tokenizer, prompt, at, subject.placement),
            tokenizer.tokenizer,
            sidecar,
            reconstructor,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            samples=self.samples,
            batch=batch,
            seed=subject.seed,
            identity=f"{self} {subject.placement} {subject.seed} {fingerprint(av)}"
            + (f" {fingerprint(ar)}" if ar else ""),
        )

    def preview(self, d_model: int) -> list[str]:
        """Read the sidecars alone, and hold them to the vectors' width."""
        from bridge_verbalizers.nla.checkpoint import sidecar_folders
        from bridge_verbalizers.nla.sidecar import read_sidecar

        self._check()
        lines = []
        for role, folder in sidecar_folders(self.checkpoint, self.ar):
            sidecar = read_sidecar(folder, role)
            if sidecar.d_model != d_model:
                raise ShapeError(f"{folder} is {sidecar.d_model} wide, and the model's activations are {d_model}.")
            length = f", which are given length {sidecar.injection_scale:g}" if sidecar.injection_scale else ""
            given = self.ar if role == AR and self.ar else self.checkpoint
            lines.append(f"{role.upper()} of {given}: vectors of {d_model}{length}")
        return lines

    def trained_at(self) -> str:
        """Read the site from the sidecars; AV and AR must name the same."""
        from bridge_verbalizers.nla.checkpoint import sidecar_folders

        self._check()
        return "" if self.any_site else site_of(sidecar_folders(self.checkpoint, self.ar))

    def train(self, subject: Subject, recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Train an AV by LoRA, and an AR, and write them to `out/av` and `out/ar`."""
        from bridge_verbalizers.nla.examples import gather_examples
        from bridge_verbalizers.nla.job import Job
        from bridge_verbalizers.nla.train_ar import train_ar
        from bridge_verbalizers.nla.train_av import train_av

        progress.note(f"Choosing examples for {subject.name}.")
        data = gather_examples(subject, recipe)
        names = [field.name for field in dataclasses.fields(recipe) if field.name != "dictionary"]
        identity = {name: getattr(recipe, name) for name in names} | {
            "subject": subject.name,
            "feature_examples": len(data.features.x),
            "examples": len(data.rows.x),
            "seed": subject.seed,
            "dtype": subject.placement.dtype,
        }
        job = Job(subject, data, recipe, out, identity, progress)
        measured: dict[str, Any] = {AV: train_av(job)}
        if recipe.reconstructor:
            measured[AR] = train_ar(job)
        return measured

    def _check(self) -> None:
        if not self.checkpoint:
            raise UsageError(
                "The verbalizer nla needs a checkpoint.",
                remedy="Write nla:checkpoint=FOLDER, or nla:checkpoint=hub:user/repo.",
            )
        if self.max_new_tokens < 1 or self.batch < 0 or not 0 <= self.temperature < math.inf:
            raise UsageError(
                f"nla cannot have max_new_tokens={self.max_new_tokens}, batch={self.batch} and "
                f"temperature={self.temperature:g}.",
                remedy="They are 1, 0 and 0 at least.",
            )
        if self.samples < 1 or (self.samples > 1 and not self.temperature):
            raise UsageError(
                f"nla cannot have samples={self.samples} at temperature={self.temperature:g}.",
                cause="At temperature 0 every sample is the same text.",
                remedy="Ask for one sample, or for more at a temperature above 0, such as 0.7.",
            )


def load_speaker(
    folder: Path, d_model: int, tokenizer: TransformersTokenizer, prompt: Sequence[int], at: int, placement: Placement
) -> Speaker:
    """Load the weights of an AV.

    Raises:
        ModelError: If a file is damaged, or weights are missing.
        BridgeError: If its embeddings are not what its sidecar and its prompt need.
    """
    from bridge_verbalizers.nla.decoding import Speaker

    module = load_module(folder, placement)
    vocabulary, width = module.get_input_embeddings().weight.shape
    if width != d_model or max(prompt) >= vocabulary:
        raise BridgeError(
            f"{folder} embeds {vocabulary} tokens in {width} dimensions; its sidecar says {d_model} "
            f"dimensions, and its prompt has token {max(prompt)}.",
            cause="Files of several checkpoints lie in one folder.",
            remedy="Fetch the whole checkpoint again.",
        )
    return Speaker(module, prompt, at, ends(module, tokenizer))


def site_of(folders: Sequence[tuple[Role, Path]]) -> str:
    """Return the site that the sidecars of one autoencoder name; empty where none does.

    Raises:
        BridgeError: If they name two, or one cannot be read.
    """
    from bridge_verbalizers.nla.sidecar import read_sidecar

    # Whoever loads one says that a sidecar is missing, and what to do.
    there = [(role, folder) for role, folder in folders if (folder / SIDECAR).is_file()]
    found = {str(folder): read_sidecar(folder, role).site for role, folder in there}
    named = {folder: site for folder, site in found.items() if site}
    if len({site.removesuffix(".resid_post") for site in named.values()}) > 1:
        raise BridgeError(
            f"The halves are of different sites: {', '.join(f'{folder} of {site}' for folder, site in named.items())}.",
            cause="AV and AR are not of one autoencoder.",
            remedy="Give the AR that was trained with the AV, or say any_site=true.",
        )
    return next(iter(named.values()), "")


def sequences_at_once(d_model: int) -> int:
    """Return how many sequences a model of a width decodes at once: 512 where it is narrow, 16 where it is wide.

    A step reads all weights and takes some milliseconds of Python, however many sequences share it; but keys and values
    of each fill memory in proportion to the width.
    """
    return max(16, min(512, 2**16 // d_model))


def ends(module: Any, tokenizer: TransformersTokenizer) -> list[int]:
    """Return the ids that end a text: the checkpoint's own, and its tokenizer's."""
    given = module.generation_config.eos_token_id
    listed = given if isinstance(given, list) else [given]
    return [token for token in [*listed, *tokenizer.ends()] if token is not None]


def _check_width(folder: Path, d_model: int, subject: Subject) -> None:
    if d_model != subject.d_model:
        raise ShapeError(
            f"{folder} explains vectors of {d_model} dimensions; those of {subject.name} have {subject.d_model}.",
            cause="It is the verbalizer of another model.",
            remedy=f"Train one: bridge verbalizer train --model {subject.name} --out FOLDER.",
        )


@hookimpl
def register_verbalizers(register: Callable[[type[VerbalizerBackend]], None]) -> None:
    """Offer NLA checkpoints."""
    register(NLA)
