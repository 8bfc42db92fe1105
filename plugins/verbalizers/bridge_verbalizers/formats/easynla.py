"""EasyNLA and nanoNLA: adapters or merged checkpoints whose vector is added to the output of block 1.

Source: github.com/asherps/EasyNLA at 4d72847, `nla/injection.py`, `nla/utils/critic.py`, `nla/train_sft.py`. The
trainer copies the sidecar of its dataset (`kind: nla_dataset`) into the folder of the weights. This file has the
prompt, but does not say how a vector is injected.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from pydantic import ValidationError

from bridge.errors import BridgeError
from bridge.files import write_json
from bridge.files.bounded import read_bytes
from bridge.hookspecs import hookimpl
from bridge.readers import (
    Adapter,
    Affine,
    Answer,
    Injection,
    Message,
    Prompt,
    Reader,
    ReaderFormat,
    ReaderStandIn,
    Reconstruction,
    Weights,
)
from bridge_verbalizers.formats.easynla_layout import AR_FILE, AR_HEAD, AR_META, ARS, AVS, HEAD, ArMeta
from bridge_verbalizers.formats.easynla_stand_in import write_stand_in
from bridge_verbalizers.formats.examples import AR_TEMPLATE, AV_TEMPLATE, BASE, write_adapter, write_sidecar
from bridge_verbalizers.formats.files import half, has_tokenizer, is_adapter, meta_of, sidecar_folder, weights_of
from bridge_verbalizers.formats.meta import MARK, TEXT, Meta, read_meta

ADDED = Injection(block=1, how="add", length="place")
"""h + |h| v/|v| at the output of block 1, from 0 (`karvonen_inject_in_residual`)."""


@final
class EasyNLA(ReaderFormat):
    """A PEFT adapter or merged checkpoint with the sidecar of a dataset; its AR has `ar_meta.json`, or is merged."""

    name = "easynla"
    summary = "EasyNLA and nanoNLA readers: a vector is added to the output of block 1 of an adapted model"

    def recognises(self, folder: Path) -> bool:
        """Look for weights with the sidecar of a dataset, or for an AR of this trainer."""
        av = half(folder, AVS) or folder
        if not (is_adapter(av) or (av / "config.json").is_file()):
            return False
        place = sidecar_folder(av)
        beside = (half(folder, ARS), av, folder)
        return place is not None and (
            _kind(place) == "nla_dataset" or any(other and (other / AR_META).is_file() for other in beside)
        )

    def describe(self, folder: Path, reconstructor: Path | None = None) -> Reader:
        """Read the sidecars, `adapter_config.json` and `ar_meta.json`."""
        av = half(folder, AVS) or folder
        meta = meta_of(av)
        ar = reconstructor or half(folder, ARS)
        ar = ar and (half(ar, ARS) or ar)
        back, notes = (_reconstruction(ar, meta), _notes(ar)) if ar else (None, ())
        return Reader(
            d_model=meta.d_model,
            sites=(meta.site,) if meta.site else (),
            model=meta.base,
            weights=weights_of(av, meta.base),
            prompt=prompt_of(meta, av),
            injection=ADDED,
            answer=Answer(rule="tags"),
            reconstruction=back,
            notes=notes,
        )

    def example(self, folder: Path) -> None:
        """Write the small files of an AV and its AR, both adapters."""
        extraction = {"base_model": BASE, "d_model": 32, "layer_index": 1, "norm": "none"}
        for name, templates in (("av", {"actor": AV_TEMPLATE}), ("ar", {"critic": AR_TEMPLATE})):
            write_sidecar(folder / name, kind="nla_dataset", extraction=extraction, prompt_templates=templates)
        write_adapter(folder / "av")
        adapted = ArMeta(ar_num_layers=2, lora_r=4, lora_alpha=8, target_modules="all-linear", final_norm_stripped=True)
        write_json(folder / "ar" / AR_META, adapted.model_dump())

    def write_stand_in(self, folder: Path, like: ReaderStandIn) -> None:
        """Write both halves: adapters, or whole checkpoints where the real ones are merged."""
        write_stand_in(folder, like)


def prompt_of(meta: Meta, folder: Path, **template_options: Any) -> Prompt:
    """Return the prompt of a sidecar's AV.

    Args:
        meta: The sidecar.
        folder: Its folder, for messages.
        template_options: Options of the chat template.

    Raises:
        BridgeError: If it has no prompt, or no placeholder.
    """
    tokens = meta.tokens
    try:
        template = meta.template("av")
        if not tokens.injection_char:
            raise ValueError("tokens.injection_char is missing")
    except ValueError as error:
        raise BridgeError(f"The sidecar of {folder} cannot be used: {error}.", cause="It is damaged.") from error
    around = (tokens.injection_left_neighbor_id, tokens.injection_right_neighbor_id)
    return Prompt(
        messages=(Message(content=template.replace(MARK, "{vectors}")),),
        placeholder=tokens.injection_char,
        token_id=tokens.injection_token_id if tokens.injection_token_id >= 0 else None,
        neighbours=around if min(around) >= 0 else None,
        template_options=template_options,
    )


def _reconstruction(folder: Path, av: Meta) -> Reconstruction:
    place = sidecar_folder(folder)
    meta = read_meta(place) if place else av
    try:
        template = (meta if meta.prompt_templates.get("ar") else av).template("ar")
    except ValueError as error:
        raise BridgeError(f"The sidecar of {folder} cannot be used: {error}.", cause="It is damaged.") from error
    if meta.d_model != av.d_model or meta.layer != av.layer:
        raise BridgeError(
            f"{folder} reconstructs vectors of block {meta.layer} with {meta.d_model} dimensions; the AV reads block "
            f"{av.layer} with {av.d_model} dimensions.",
            cause="AV and AR do not belong to the same autoencoder.",
            remedy="Use the AR that was trained with the AV.",
        )
    adapted = _ar_meta(folder) if (folder / AR_FILE).is_file() or not (folder / HEAD).is_file() else None
    if adapted and meta.layer is not None and adapted.ar_num_layers != meta.layer + 1:
        raise BridgeError(
            f"{folder / AR_META} cuts the model after {adapted.ar_num_layers} blocks; the AR of block {meta.layer} has "
            f"{meta.layer + 1}.",
            cause="The AR belongs to another layer.",
        )
    return Reconstruction(
        d_model=meta.d_model,
        weights=_ar_weights(folder, adapted, meta.base) if adapted else Weights(folder=folder),
        block=adapted.ar_num_layers - 1 if adapted else None,
        norm_stripped=adapted.final_norm_stripped if adapted else True,
        length=meta.mse_scale,
        template=template.replace(TEXT, "{explanation}"),
        special_tokens=False,
        suffix=tuple(meta.tokens.critic_suffix_ids or ()),
        head=Affine(file=folder / AR_FILE, weight=AR_HEAD) if adapted else Affine(file=folder / HEAD),
    )


def _ar_weights(folder: Path, meta: ArMeta, base: str) -> Weights:
    config = {"peft_type": "LORA", "r": meta.lora_r, "lora_alpha": meta.lora_alpha, "use_rslora": True}
    adapter = Adapter(
        file=folder / AR_FILE, config=config | {"target_modules": meta.target_modules}, base=base, beside=(AR_HEAD,)
    )
    return Weights(adapter=adapter, tokenizer=folder if has_tokenizer(folder) else None)


def _notes(folder: Path) -> tuple[str, ...]:
    quantised = (folder / AR_META).is_file() and _ar_meta(folder).quant == "4bit"
    said = "The AR was trained on a 4-bit base model, which is not quantised here: its results differ slightly."
    return (said,) if quantised else ()


def _ar_meta(folder: Path) -> ArMeta:
    path = folder / AR_META
    try:
        return ArMeta.model_validate_json(read_bytes(path))
    except OSError as error:
        raise BridgeError(
            f"{folder} has neither {AR_META} nor {HEAD}.",
            cause="It is not the folder of an AR, or was not copied completely.",
            remedy="Use the option ar with the folder of an AR, or leave it out.",
        ) from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise BridgeError(
            f"{path} cannot be used: {faults}.", cause="It is damaged, or was written by a newer trainer."
        ) from error


def _kind(folder: Path) -> str:
    try:
        return read_meta(folder).kind
    except BridgeError:  # `describe` reports the error
        return ""


@hookimpl
def register_reader_formats(register: Callable[[ReaderFormat], None]) -> None:
    """Register the format of EasyNLA and nanoNLA."""
    register(EasyNLA())
