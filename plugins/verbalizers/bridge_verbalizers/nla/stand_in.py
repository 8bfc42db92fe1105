"""Stand-ins of NLA checkpoints for rehearsals: random weights in the released layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError
from bridge.readers import ReaderStandIn, halves
from bridge.references import Site
from bridge_verbalizers.formats.stand_ins import copy_base, site_of, tokenizer_of, write_cut
from bridge_verbalizers.nla.layout import AR, AV, HEAD
from bridge_verbalizers.nla.sidecar import Extraction, Sidecar, Tokens, read_sidecar, write_sidecar

CHAR = "㈎"
AV_TEMPLATE = "the activation <concept>{injection_char}</concept> in words"
AR_TEMPLATE = "<text>{explanation}</text> <summary>"


def write_stand_in(folder: Path, like: ReaderStandIn) -> None:
    """Write an AV that is the model's stand-in under another prompt, and an AR cut after its block.

    Prompts and scales are those of the real sidecars where they are here; ids of tokens are the stand-in's own.
    """
    of_av, of_ar = halves(like.real) if like.real else (None, None)
    whole = (like.real / AV).is_dir() if like.real else like.reconstructor is None
    if of_ar is None and like.real and like.reconstructor is None and not (like.real / AR).is_dir():
        like = dataclasses.replace(like, reconstructor=Path())  # the real one has no way back
    site = site_of(like)
    _write_av(folder / AV if whole else folder, like, site, _real(of_av, "av"))
    ar = like.reconstructor or folder / AR
    if ar != Path():
        _write_ar(ar, like, site, _real(of_ar, "ar"))


def _real(folder: Path | None, role: Any) -> Sidecar | None:
    if folder is None:
        return None
    try:
        return read_sidecar(folder, role)
    except BridgeError:  # what is wrong with it is said by whoever describes it
        return None


def _write_av(folder: Path, like: ReaderStandIn, site: Site, real: Sidecar | None) -> None:
    tokenizer = tokenizer_of(like.base)
    char = real.tokens.injection_char if real else CHAR
    template = real.template if real else AV_TEMPLATE
    if len(tokenizer.encode(char, add_special_tokens=False)) != 1:
        tokenizer.add_tokens([char])
    said = [{"role": "user", "content": template.replace("{injection_char}", char)}]
    prompt = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    at = ids.index(tokenizer.encode(char, add_special_tokens=False)[-1])
    copy_base(like.base, folder)
    tokenizer.save_pretrained(folder)
    tokens = Tokens(
        injection_char=char,
        injection_token_id=ids[at],
        injection_left_neighbor_id=ids[at - 1],
        injection_right_neighbor_id=ids[at + 1],
    )
    extraction = real.extraction if real else Extraction(injection_scale=30.0)
    _write(folder, "av", like, _at(extraction, site), tokens, template)


def _write_ar(folder: Path, like: ReaderStandIn, site: Site, real: Sidecar | None) -> None:
    tokenizer = tokenizer_of(like.base)
    write_cut(folder, like, HEAD)
    template = real.template if real else AR_TEMPLATE
    # The first token of what follows the text may join with its last character.
    suffix = tokenizer.encode(template.partition("{explanation}")[2], add_special_tokens=False)[1:]
    extraction = real.extraction if real else Extraction(injection_scale=None)
    _write(folder, "ar", like, _at(extraction, site), Tokens(critic_suffix_ids=suffix), template)


def _at(extraction: Extraction, site: Site) -> Extraction:
    point = "" if site.point == "resid_post" else site.point
    return extraction.model_copy(update={"layer_index": site.layer, "point": point})


def _write(folder: Path, role: Any, like: ReaderStandIn, extraction: Extraction, tokens: Tokens, template: str) -> None:
    sidecar = Sidecar(
        role=role,
        d_model=like.d_model,
        extraction=extraction,
        tokens=tokens,
        prompt_templates={role: template},
    )
    write_sidecar(folder, sidecar, {"stand_in": True})
