"""NLA checkpoints that vLLM runs: prompts go to `/v1/completions` as `prompt_embeds`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from bridge.hookspecs import hookimpl
from bridge.verbalizers import VerbalizerBackend
from bridge_verbalizers.serving.backend import ServedNLA

if TYPE_CHECKING:
    from bridge_verbalizers.serving.protocol import Protocol


@final
@dataclass(frozen=True)
class NLAOnVLLM(ServedNLA):
    """See `ServedNLA` for the options."""

    name = "nla_vllm"
    needs_checkpoint = True
    summary = "reads NLA checkpoints that a vLLM server runs, many vectors at once"
    server = "vLLM"

    url: str = "http://127.0.0.1:8000"

    def launch(self, folder: Path, model_type: str, port: int) -> str:
        """Write the command that starts a server at a port."""
        command = f"vllm serve {shlex.quote(str(folder))} --enable-prompt-embeds"
        return f"{command} --port {port}"

    def protocol(self) -> Protocol:
        """Return the protocol of a server."""
        from bridge_verbalizers.serving.vllm import VLLM

        return VLLM(self.max_new_tokens, self.temperature)


@hookimpl
def register_verbalizers(register: Callable[[type[VerbalizerBackend]], None]) -> None:
    """Offer NLA checkpoints on vLLM."""
    register(NLAOnVLLM)
