"""NLA checkpoints that SGLang runs: prompts go to `/generate` as `input_embeds`."""

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
class NLAOnSGLang(ServedNLA):
    """See `ServedNLA` for the options."""

    name = "nla_sglang"
    needs_checkpoint = True
    summary = "reads NLA checkpoints that an SGLang server runs, many vectors at once"
    server = "SGLang"

    url: str = "http://127.0.0.1:30000"

    def launch(self, folder: Path, model_type: str, port: int) -> str:
        """Write the command that starts a server at a port."""
        # Prompts that differ in one embedding have the same placeholder ids, and the radix cache compares only ids.
        command = f"python -m sglang.launch_server --model-path {shlex.quote(str(folder))} --disable-radix-cache"
        # The released AVs of Gemma-3 were served with this backend.
        backend = " --attention-backend fa3" if model_type.startswith("gemma3") else ""
        return f"{command} --port {port}{backend}"

    def protocol(self) -> Protocol:
        """Return the protocol of a server."""
        from bridge_verbalizers.serving.sglang import SGLang

        return SGLang(self.max_new_tokens, self.temperature)

    def likely_cause(self, model_type: str) -> str:
        """Return the known cause for the model type."""
        if model_type == "gemma3":
            return (
                "SGLang, up to 0.5.23 at least, drops input_embeds in the multimodal wrapper of Gemma-3: "
                "github.com/sgl-project/sglang/pull/20544. vLLM (nla_vllm) does not."
            )
        return super().likely_cause(model_type)


@hookimpl
def register_verbalizers(register: Callable[[type[VerbalizerBackend]], None]) -> None:
    """Offer NLA checkpoints on SGLang."""
    register(NLAOnSGLang)
