"""NLAs that are LoRA adapters with a sidecar of a model, such as those of nla-at-home.

The injection is taken from `extraction.injection` in the sidecar, or from the record of the training as written by
github.com/anicka-net/nla-at-home at cc84bc1. If the sidecar has neither, a probe or the option `inject` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from bridge.errors import BridgeError
from bridge.hookspecs import hookimpl
from bridge.readers import Answer, Injection, Reader, ReaderFormat, ReaderStandIn
from bridge_verbalizers.formats.easynla import ADDED, prompt_of
from bridge_verbalizers.formats.easynla_layout import AR_META, AVS
from bridge_verbalizers.formats.examples import write_adapter, write_sidecar
from bridge_verbalizers.formats.files import half, is_adapter, sidecar_folder, weights_of
from bridge_verbalizers.formats.meta import Meta, is_lens, read_meta
from bridge_verbalizers.formats.stand_ins import write_av

OPEN, CLOSE = "<explanation>", "</explanation>"
AT_HOME = "nla-at-home"
EXAMPLE: Mapping[str, Any] = {
    "kind": "nla_model",
    "role": "av",
    "extraction": {"injection_scale": 150.0, "layer_index": 1},
    "training": {"injection_mode": "normalize", "chat_template": True},
}
"""The sidecar of an example."""


@final
@dataclass(frozen=True)
class _Way:
    """An injection; `others` are possible, too; without `chat` the prompt is plain text."""

    injection: Injection
    others: tuple[Injection, ...] = ()
    chat: bool = True


@final
class LoraNLA(ReaderFormat):
    """An adapter folder with `nla_meta.yaml` of `kind: nla_model`."""

    name = "lora_nla"
    summary = "NLAs that are a LoRA adapter with nla_meta.yaml"

    def recognises(self, folder: Path) -> bool:
        """Look for an adapter with the sidecar of a model, unless its trainer has a format of its own."""
        av = half(folder, AVS) or folder
        place = sidecar_folder(av)
        if not place or not is_adapter(av) or (av / AR_META).is_file() or (place / AR_META).is_file():
            return False
        try:
            meta = read_meta(place)
        except BridgeError:  # `describe` reports the error
            return False
        return meta.kind == "nla_model" and meta.role != "ar" and not is_lens(meta)

    def describe(self, folder: Path, reconstructor: Path | None = None) -> Reader:
        """Read the sidecar and `adapter_config.json`."""
        if reconstructor:
            raise BridgeError(
                f"{self.name} does not support the reconstructor in {reconstructor}.",
                cause="There is no common layout of adapters that reconstruct activations.",
                remedy="Leave out the option ar.",
            )
        av = half(folder, AVS) or folder
        meta = read_meta(sidecar_folder(av) or av)
        if meta.role == "ar":
            raise BridgeError(f"{av} is the AR of an autoencoder, not the AV.")
        way = _way(meta, av)
        prompt = prompt_of(meta, av)
        # The prompt may end with the opening tag.
        opened = prompt.messages[-1].content.rstrip().endswith(OPEN)
        return Reader(
            d_model=meta.d_model,
            sites=(meta.site,) if meta.site else (),
            model=meta.base,
            weights=weights_of(av, meta.base),
            prompt=replace(prompt, chat=way.chat),
            injection=way.injection,
            alternatives=way.others,
            answer=Answer(rule="tags", tags=("" if opened else OPEN, CLOSE)),
        )

    def example(self, folder: Path) -> None:
        """Write the small files of an adapter whose vectors replace an embedding."""
        write_adapter(folder)
        write_sidecar(folder, **EXAMPLE)

    def write_stand_in(self, folder: Path, like: ReaderStandIn) -> None:
        """Write a random adapter on the model's stand-in, with what the real sidecar says."""
        place = half(like.real, AVS) or like.real if like.real else None
        write_av(folder / place.name if place and place != like.real else folder, like, place, EXAMPLE)


def _way(meta: Meta, folder: Path) -> _Way:
    told = meta.extraction.injection
    if told:
        return _Way(Injection(block=told.block, how="add", length="place"))
    mode, training = meta.training.get("injection_mode"), meta.training
    replaced = Injection(length=meta.injection_scale or "raw")
    if mode == "normalize":
        return _Way(replaced, chat=training.get("chat_template") is True)
    if mode is not None:
        raise BridgeError(
            f"The sidecar of {folder} has an unknown training.injection_mode: {mode}.",
            cause="It was written by a newer trainer.",
        )
    if training.get("corpus") == AT_HOME and training.get("method") == "lora_sft":
        # scripts/train_av.py: the activation is multiplied by the scale; the prompt has no chat template.
        return _Way(Injection(length="raw", times=meta.injection_scale or 1.0), chat=False)
    return _Way(replaced, (ADDED,))


@hookimpl
def register_reader_formats(register: Callable[[ReaderFormat], None]) -> None:
    """Register the format of LoRA adapters with a sidecar."""
    register(LoraNLA())
