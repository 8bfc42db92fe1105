"""Names in the folder of a natural-language autoencoder, and the prompt of its AV."""

from __future__ import annotations

from bridge.readers import Message, Prompt
from bridge_verbalizers.nla.sidecar import Sidecar

AV, AR = "av", "ar"
HEAD = "value_head.safetensors"


def prompt_of(sidecar: Sidecar) -> Prompt:
    """Return the prompt of an AV's sidecar."""
    tokens = sidecar.tokens
    return Prompt(
        messages=(Message(content=sidecar.template.replace("{injection_char}", "{vectors}")),),
        placeholder=tokens.injection_char,
        token_id=tokens.injection_token_id,
        neighbours=(tokens.injection_left_neighbor_id, tokens.injection_right_neighbor_id),
    )
