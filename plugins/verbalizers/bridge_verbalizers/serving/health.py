"""Before anything is asked: the server is there, runs the right model, and reads what it is sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bridge.errors import BridgeError, UsageError, printable
from bridge_verbalizers.nla.sidecar import NAME
from bridge_verbalizers.serving.client import connect, insist
from bridge_verbalizers.serving.prompt import Prompt
from bridge_verbalizers.serving.protocol import Protocol, extract

PATIENCE = 30.0
"""Seconds for a first sign of life: SGLang's /health generates a token, and may wait for 20."""


async def check_server(
    protocol: Protocol,
    name: str,
    url: str,
    folder: Path,
    prompt: Prompt,
    launch: str,
    timeout: float,
    likely_cause: str,
) -> None:
    """Check a server.

    Args:
        protocol: How to speak to it.
        name: What it is called.
        url: Where it is.
        folder: The checkpoint that it should run.
        prompt: The checkpoint's prompt.
        launch: The command that starts it.
        timeout: How long an explanation may take, in seconds.
        likely_cause: Why it may drop the embeddings that it is sent.

    Raises:
        BridgeError: If it does not answer, refuses, runs another model, or does not read the embeddings.
    """
    vector = np.random.default_rng(0).normal(size=prompt.rows.shape[1]).astype(np.float32)
    try:
        async with connect(url, 1) as client:
            names = await protocol.models(client, min(timeout, PATIENCE))
            if not any(same_model(served, folder) for served in names):
                raise BridgeError(
                    f"It serves {printable(' and '.join(names))[:300] or 'no model'}, and not {folder}.",
                    cause="Another model was started there, or the same one under another name: the last part of its "
                    f"path, or of --served-model-name, is to be {folder.name}.",
                )
            both = []
            for version in (prompt, prompt.backwards()):
                answer = await insist(client, protocol.route, timeout, protocol.probe(version, vector))
                both.append(extract(protocol.likeliest, answer))
    except UsageError:
        raise
    except BridgeError as error:
        raise BridgeError(
            f"{name} at {url} cannot explain. {error.what}", cause=error.cause, remedy=f"Start it: `{launch}`."
        ) from error
    # A server that drops what it is sent embeds placeholders instead: any two prompts of a length are then one.
    if both[0] == both[1]:
        raise BridgeError(
            f"{name} at {url} does not read the embeddings that it is sent: two prompts with nothing in common got the "
            "same probabilities.",
            cause=likely_cause,
            remedy="Use another server, or the verbalizer nla, which runs the checkpoint itself.",
        )


def same_model(served: str, folder: Path) -> bool:
    """Tell whether a served model's name or path looks like a checkpoint's.

    Args:
        served: What the server says.
        folder: The checkpoint here.
    """
    here = Path(served).expanduser() / NAME
    if here.is_file():
        return here.read_bytes() == (folder / NAME).read_bytes()
    return bool(_names(Path(served)) & _names(folder))


def _names(path: Path) -> set[str]:
    # Of a hub's snapshot, models--USER--REPO/snapshots/COMMIT, the repository's.
    return {path.name.casefold()} | {part.rpartition("--")[2].casefold() for part in path.parts if "--" in part}
