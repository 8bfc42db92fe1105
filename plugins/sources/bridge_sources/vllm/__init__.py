"""Activations from vLLM: the output of blocks, several in one pass, on one or many devices."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, final

from bridge.errors import UsageError
from bridge.hookspecs import hookimpl
from bridge.models import Placement
from bridge.references import Site
from bridge.sources import ActivationBackend, ActivationSource, Checkpoint, need_point
from bridge_sources.vllm.engine import Engine
from bridge_sources.vllm.environment import Environment, found_environment
from bridge_sources.vllm.source import VLLMSource
from bridge_sources.vllm.support import OURS, TRANSFORMERS, Implementation, implementation_of

bridge_api = "1.4"

POINTS = ("resid_post",)

REFUSED = (
    *(
        "--model",
        "--revision",
        "--dtype",
        "--spec",
        "--kv-transfer",
        "--max-model-len",
        "--tensor-par",
        "--pipeline-par",
    ),
    *(
        "--data-par",
        "--trust",
        "--load-format",
        "--enable-prefix",
        "--hf-overrides",
        "--skip-tok",
        "--logprobs-mode",
        "-tp",
        "-pp",
        "-dp",
    ),
)
"""Beginnings of vLLM's arguments that are not the user's to give: they would change what is read, or run code."""


@final
@dataclass(frozen=True)
class VLLM(ActivationBackend):
    """vLLM's method `extract_hidden_states`, in a process of vLLM's own environment.

    Attributes:
        python: Python of the environment that vLLM is installed in. Default: that of the command in `BRIDGE_VLLM`, this
            environment, or that of the command `vllm` on the PATH.
        tensor_parallel: Number of devices that share each block.
        max_model_len: Longest text in tokens that memory is reserved for.
        implementation: `vllm`, `transformers` (vLLM's backend for models of transformers), or `auto`: vLLM's own
            implementation if it gives hidden states.
        arguments: More arguments of `vllm serve`, separated by blanks.
        compare: Compare with transformers also where the model is large.
    """

    python: str = ""
    tensor_parallel: int = 1
    max_model_len: int = 4096
    implementation: Literal["auto", "vllm", "transformers"] = "auto"
    arguments: str = ""
    compare: bool = False

    name = "vllm"
    summary = "vLLM, at the output of blocks"

    @property
    def compares(self) -> bool:
        """Whether `compare` is set."""
        return self.compare

    def check(self, model: Checkpoint, sites: Sequence[Site]) -> Sequence[str]:
        """Refuse other points, encoders, models that vLLM does not have, and arguments that bridge decides.

        Args:
            model: The model.
            sites: The sites.
        """
        need_point(self.name, sites, POINTS)
        self._check_arguments()
        where, how = self._found(model)
        return () if how.name == OURS else (how.sentence(where.version),)

    def identity(self, model: Checkpoint) -> Mapping[str, str]:
        """Return the versions of vLLM and torch, and the options that decide in which order sums are formed.

        Args:
            model: The model.
        """
        where, how = self._found(model)
        parallel = "" if self.tensor_parallel == 1 else str(self.tensor_parallel)
        optional = {"arguments": self.arguments, "parallel": parallel}
        if how.name == TRANSFORMERS:
            optional["implementation"] = f"transformers {where.transformers}{', decoder alone' if how.alone else ''}"
        return {"vllm": where.version, "torch": where.torch} | {name: text for name, text in optional.items() if text}

    @contextmanager
    def open(self, model: Checkpoint, sites: Sequence[Site], placement: Placement) -> Iterator[ActivationSource]:
        """Start vLLM, and stop it afterwards.

        Args:
            model: The model.
            sites: The sites; those of `check`.
            placement: The dtype; vLLM's build decides the kind of device.
        """
        where, how = self._found(model)
        kind, built = placement.torch_device().partition(":")[0], "cpu" if where.cpu else "cuda"
        if kind != built:
            raise UsageError(
                f"--device is {kind}, and vLLM in the environment of {where.python} is built for {built}.",
                remedy=f"Use --device {built}, or name another environment: vllm:python=PATH.",
            )
        layers = sorted({site.layer for site in sites})
        flags = [f"--tensor-parallel-size={self.tensor_parallel}", "--dtype", placement.dtype, *how.flags()]
        flags += shlex.split(self.arguments)
        longest = min(self.max_model_len, model.info.max_tokens or self.max_model_len)
        with Engine(where, model, layers, longest, flags, placement) as engine:
            yield VLLMSource(model, engine, layers, longest)

    def _found(self, model: Checkpoint) -> tuple[Environment, Implementation]:
        where = found_environment(self.python)
        return where, implementation_of(model, where, self.implementation)

    def _check_arguments(self) -> None:
        wrong = [word for word in shlex.split(self.arguments) if word.startswith(REFUSED)]
        if wrong:
            raise UsageError(
                f"The arguments {' '.join(wrong)} of vLLM are not passed on: bridge decides them.",
                remedy="Use the options of the source (tensor_parallel, max_model_len), and --dtype of bridge. vLLM "
                "has no pipeline parallelism where it extracts hidden states, and no data parallelism where it runs "
                "without a server: run several workers, as in docs/SOURCES.md.",
            )
        if min(self.tensor_parallel, self.max_model_len) < 1:
            raise UsageError("tensor_parallel and max_model_len are at least 1.")


@hookimpl
def register_activation_sources(register: Callable[[type[ActivationBackend]], None]) -> None:
    """Offer the source `vllm`."""
    register(VLLM)
