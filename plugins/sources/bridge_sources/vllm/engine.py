"""vLLM in a process of its own: started with the model, asked for hidden states, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, final

from pydantic import BaseModel, ConfigDict, ValidationError

from bridge.errors import ModelError
from bridge.models import Placement
from bridge.sources import Checkpoint
from bridge_sources.vllm.environment import Environment, clean

THERE = Path(__file__).with_name("there")
ENDING = 30.0
"""Seconds that vLLM gets to end by itself."""


@final
class Answer(BaseModel):
    """One line of the worker.

    Attributes:
        ready: Whether the model is loaded.
        files: Names of the files with hidden states, one for each text.
        losses: For each text the negative log-probabilities of its tokens after the first, if asked for.
        error: What vLLM raised; empty if nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ready: bool = False
    files: list[str] = []
    losses: list[list[float]] = []
    error: str = ""


@final
class Engine:
    """A context: starts the process, and ends it with its children.

    Args:
        where: vLLM's environment.
        model: The model.
        layers: Blocks whose output is read, ascending.
        longest: Number of tokens of the longest text.
        flags: More arguments of vLLM.
        placement: Device and dtype.
    """

    def __init__(
        self,
        where: Environment,
        model: Checkpoint,
        layers: Sequence[int],
        longest: int,
        flags: Sequence[str],
        placement: Placement,
    ) -> None:
        self._where, self._model, self._placement = where, model, placement
        self._layers, self._longest, self._more = layers, longest, list(flags)
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opened:
            # Readable for this user alone, as the texts may not be public.
            self.folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="bridge-vllm-")))
            (self.folder / "rows").mkdir()
            self._log = self.folder / "log"
            log = opened.enter_context(self._log.open("wb"))
            variables = clean() | {"PYTHONPATH": str(THERE), "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
            # One token more than the model has positions for: the token that vLLM adds to a text is never run.
            variables["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] = "1"
            variables["PATH"] = f"{self._where.python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
            device = self._placement.device
            if device.startswith("cuda:"):
                visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
                number = int(device.partition(":")[2])
                variables["CUDA_VISIBLE_DEVICES"] = (
                    visible[number] if number < len(visible) and visible[0] else str(number)
                )
            self._process = subprocess.Popen(
                [str(self._where.python), str(THERE / "worker.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=variables,
                start_new_session=True,
                text=True,
                encoding="utf-8",
            )
            opened.callback(self._end)
            self._ask(self.flags())
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def flags(self) -> list[str]:
        """Return vLLM's arguments: as little as possible is left to its defaults."""
        weights = self._model.weights
        # vLLM counts the inputs of blocks: that of block n + 1 is the output of block n.
        taps = {"eagle_aux_hidden_state_layer_ids": [layer + 1 for layer in self._layers]}
        method = {"method": "extract_hidden_states", "num_speculative_tokens": 1}
        speculative = method | {"draft_model_config": {"hf_config": taps}}
        connector: dict[str, Any] = {"kv_connector": "ExampleHiddenStatesConnector"}
        if self._where.cpu:
            connector = {
                "kv_connector": "PlainHiddenStatesConnector",
                "kv_connector_module_path": "bridge_vllm_connector",
            }
        connector |= {"kv_role": "kv_producer"}
        connector["kv_connector_extra_config"] = {"shared_storage_path": str(self.folder / "rows")}
        revision = ["--revision", weights.revision] if weights.revision else []
        return [
            *("--model", weights.source, *revision, "--skip-tokenizer-init", "--no-enable-prefix-caching"),
            *("--max-model-len", str(self._longest + 1), "--enforce-eager", "--generation-config", "vllm"),
            *("--speculative-config", json.dumps(speculative), "--kv-transfer-config", json.dumps(connector)),
            *self._more,
        ]

    def run(self, texts: Sequence[Sequence[int]], losses: bool = False) -> Answer:
        """Run texts.

        Args:
            texts: Token ids of each text.
            losses: Whether log-probabilities are wanted.

        Raises:
            ModelError: If vLLM fails or ends.
        """
        return self._ask({"texts": [list(map(int, ids)) for ids in texts], "losses": losses})

    def _ask(self, request: Any) -> Answer:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            answer = Answer.model_validate_json(line)
        except (OSError, ValidationError) as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)  # its output has ended, and it may be about to
            raise self._failed("it ended" if self._process.poll() is not None else "it answers strangely") from error
        if answer.error:
            raise self._failed(answer.error)
        return answer

    def _failed(self, what: str) -> ModelError:
        said = self._log.read_text(encoding="utf-8", errors="replace")
        told = "\n".join(line for line in said.splitlines() if "WARNING" not in line)
        faults = re.findall(r"\b(?:\w+Error|\w+Exception): .+", told)
        first = f" First: {faults[0].strip()[:400]}" if faults else ""
        return ModelError(
            f"vLLM {self._where.version} failed on {self._model.name}: {what[:400]}.{first}",
            cause="The model does not fit into the memory of the devices, or vLLM does not run it here.",
            remedy="Pass vLLM's own arguments, as vllm:arguments='--gpu-memory-utilization 0.8', set tensor_parallel, "
            "or use transformers for this model.",
        )

    def _end(self) -> None:
        """End the process and its children."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING)
        # The children are in its group, also where it has ended.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
