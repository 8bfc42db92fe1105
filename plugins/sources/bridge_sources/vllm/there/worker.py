"""Runs in vLLM's environment, without bridge: one engine, which writes hidden states of token ids into a folder.

Standard input and output are the channel: a line of JSON for each request and answer. Everything that vLLM prints goes
to standard error. The end of standard input ends the process.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def engine(flags: Sequence[str]) -> Any:
    """Start vLLM with arguments of `vllm serve`."""
    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    parser = EngineArgs.add_cli_args(FlexibleArgumentParser())
    return LLM.from_engine_args(EngineArgs.from_cli_args(parser.parse_args(list(flags))))


def answer(llm: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Run texts; return the files of their hidden states, and the log-probabilities of their tokens if asked for."""
    from vllm import SamplingParams

    asked = request["losses"]
    sampling = SamplingParams(max_tokens=1, temperature=0.0, detokenize=False, prompt_logprobs=0 if asked else None)
    texts = [{"prompt_token_ids": ids} for ids in request["texts"]]
    outputs = llm.generate(texts, sampling, use_tqdm=False)
    files = [written(output.kv_transfer_params["hidden_states_path"]) for output in outputs]
    losses = [
        [-float(told[token].logprob) for token, told in zip(ids[1:], output.prompt_logprobs[1:], strict=True)]
        for ids, output in zip(request["texts"], outputs, strict=True)
        if asked
    ]
    return {"files": files, "losses": losses}


def written(path: str) -> str:
    """Wait until a file is written: its writer holds a lock until then; return its name."""
    lock = Path(f"{path}.lock")
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
    lock.unlink()
    return Path(path).name


def main() -> None:
    """Serve requests until the input ends."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(message: dict[str, Any]) -> None:
        """Write one line."""
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    try:
        llm = engine(json.loads(sys.stdin.readline()))
    except Exception as error:  # whatever vLLM raises is the answer
        say({"error": f"{type(error).__name__}: {error}"})
        return
    say({"ready": True})
    for line in sys.stdin:
        try:
            say(answer(llm, json.loads(line)))
        except Exception as error:  # as above
            say({"error": f"{type(error).__name__}: {error}"})
            return


if __name__ == "__main__":
    main()
