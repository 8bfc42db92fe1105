"""Oracle lenses: adapters that write one bullet per concept; a vector of length 16000 replaces a token's embedding.

Source: github.com/agu18dec/olens_draft at a325900 (`src/oracle_lens/pipeline/inject.py`, `soft_token_sft.py`,
`scripts/rl/prep_rl_data.py`, `docs/pipeline.md`, stage 8). The sidecar has `injection_scale: null`, because the trainer
receives vectors with their final length; this length is in the `meta.json` of the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bridge.errors import BridgeError
from bridge.files import write_json
from bridge.files.bounded import read_bytes
from bridge.hookspecs import hookimpl
from bridge.readers import Answer, Injection, Message, Prompt, Reader, ReaderFormat, ReaderStandIn
from bridge_verbalizers.formats.easynla import prompt_of
from bridge_verbalizers.formats.examples import write_adapter, write_sidecar
from bridge_verbalizers.formats.files import half, is_adapter, sidecar_folder, weights_of
from bridge_verbalizers.formats.meta import MARK, Meta, is_lens, read_meta
from bridge_verbalizers.formats.stand_ins import site_of, write_av

ADAPTERS, RUN = ("lora_hf", "lora", "merged"), "meta.json"
BULLETS, TAGS = "'- ' bullet", "<explanation> tags"
"""Parts of its prompts that name the form of the answer."""

DISTILLED = 16000.0
"""Length of vectors for all lenses that write bullets (docs/pipeline.md, stage 8: "16000 x h/|h|", transform unit)."""

EXAMPLE: Mapping[str, Any] = {
    "kind": "nla_model",
    "role": "actor",
    "stage": "iolens-ao-example",
    "prompt_templates": {"actor": f"layer 1: <activation>{MARK}</activation>, each concept as a {BULLETS}"},
}
"""The sidecar of an example."""

LAYER = re.compile(r"\blayer \d+\b")


@final
class Run(BaseModel):
    """The part of `config` in `meta.json` that determines the injected vector.

    Attributes:
        transform: `unit`: alpha v/|v|. `raw`: v. Others need statistics or scales that are not in the folder.
        alpha: Length of the vector.
        layers: Blocks whose outputs the lens reads.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    transform: Literal["unit", "raw"]
    alpha: float = Field(gt=0)
    layers: list[int] = []


@final
class OracleLens(ReaderFormat):
    """A LoRA adapter on Qwen3.6-27B with `nla_meta.yaml`; the same folder or its parent has `meta.json` of the run."""

    name = "oracle_lens"
    summary = "oracle lenses: adapters that write one bullet per concept"

    def recognises(self, folder: Path) -> bool:
        """Look for an adapter or merged checkpoint with the sidecar of this trainer."""
        place = half(folder, ADAPTERS) or folder
        found = sidecar_folder(place)
        if not found or not (is_adapter(place) or (place / "config.json").is_file()):
            return False
        try:
            return is_lens(read_meta(found))
        except BridgeError:  # `describe` reports the error
            return False

    def describe(self, folder: Path, reconstructor: Path | None = None) -> Reader:
        """Read the sidecar, `meta.json` and `adapter_config.json`."""
        if reconstructor:
            raise BridgeError(
                f"{self.name} does not support the reconstructor in {reconstructor}.",
                cause="Reconstructors of oracle lenses read sixteen layers at once, and their heads are pickles.",
                remedy="Leave out the option ar.",
            )
        place = half(folder, ADAPTERS) or folder
        meta = read_meta(sidecar_folder(place) or place)
        run = _run(place)
        prompt, answer = _prompt(meta, place)
        length: float | Literal["raw"] = _length(run, answer, place)
        return Reader(
            d_model=meta.d_model,
            sites=tuple(map(str, run.layers)) if run else (),
            model=meta.base,
            weights=weights_of(place, meta.base),
            prompt=prompt,
            injection=Injection(length=length),
            answer=answer,
        )

    def example(self, folder: Path) -> None:
        """Write the small files of an adapter that writes bullets, and of its run."""
        run = Run(transform="unit", alpha=DISTILLED, layers=[1])
        write_adapter(folder / "lora")
        write_sidecar(folder / "lora", **EXAMPLE)
        write_json(folder / RUN, {"config": run.model_dump()})

    def write_stand_in(self, folder: Path, like: ReaderStandIn) -> None:
        """Write a random adapter, or a copy of the model's stand-in, and what the real one's files say."""
        place = half(like.real, ADAPTERS) or like.real if like.real else None
        inner = folder / place.name if place and place != like.real else folder / "lora" if not place else folder
        write_av(inner, like, place, EXAMPLE)
        run = (_run(place) if place else None) or Run(transform="unit", alpha=DISTILLED)
        write_json(folder / RUN, {"config": run.model_copy(update={"layers": [site_of(like).layer]}).model_dump()})


def _prompt(meta: Meta, folder: Path) -> tuple[Prompt, Answer]:
    prompt = prompt_of(meta, folder, enable_thinking=False)
    text = prompt.messages[0].content
    # The sidecar has the prompt of the training's first layer; the number in it differs from layer to layer.
    named, count = LAYER.subn("layer {layer}", text)
    if count != 1:
        raise BridgeError(
            f"The prompt in the sidecar of {folder} names a layer {count} times; oracle lenses name it once.",
            cause="The sidecar was written by another trainer, or is damaged.",
        )
    rules: dict[str, Literal["bullets", "tags"]] = {BULLETS: "bullets", TAGS: "tags"}
    rule: Literal["tags", "bullets", "free"] = next((rule for said, rule in rules.items() if said in text), "free")
    given: dict[str, Any] = {field: getattr(prompt, field) for field in ("placeholder", "token_id", "neighbours")}
    options = prompt.template_options
    return Prompt(messages=(Message(content=named),), template_options=options, **given), Answer(rule=rule)


def _length(run: Run | None, answer: Answer, folder: Path) -> float | Literal["raw"]:
    if run:
        return run.alpha if run.transform == "unit" else "raw"
    if answer.rule == "bullets":
        return DISTILLED
    raise BridgeError(
        f"No file in {folder} states the length of the vectors.",
        cause=f"The {RUN} of the run is missing, and only lenses that write bullets all have the same length.",
        remedy=f"Copy {RUN} into the folder.",
    )


def _run(folder: Path) -> Run | None:
    path = next((place / RUN for place in (folder, folder.parent) if (place / RUN).is_file()), None)
    if not path:
        return None
    try:
        return _WithRun.model_validate_json(read_bytes(path)).config
    except (OSError, ValidationError) as error:
        faults = error.errors() if isinstance(error, ValidationError) else []
        said = "; ".join(f"{'.'.join(map(str, item['loc']))} is {item['input']!r}: {item['msg']}" for item in faults)
        raise BridgeError(
            f"{path} cannot be used: {said or error}.",
            cause="This transform needs statistics or scales that are not in the folder, or the file is damaged.",
        ) from error


class _WithRun(BaseModel):
    config: Run


@hookimpl
def register_reader_formats(register: Callable[[ReaderFormat], None]) -> None:
    """Register the format of oracle lenses."""
    register(OracleLens())
