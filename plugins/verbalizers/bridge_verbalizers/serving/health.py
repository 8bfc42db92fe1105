"""Checks before the first request: the server answers, runs the right model, and reads embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bridge.errors import BridgeError, UsageError, printable
from bridge_verbalizers.nla.sidecar import NAME
from bridge_verbalizers.serving.client import connect, insist
from bridge_verbalizers.serving.prompt import Prompt
from bridge_verbalizers.serving.protocol import Protocol, extract

PATIENCE = 30.0
"""Seconds until the first answer: SGLang's /health generates a token, and may wait 20 seconds."""


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
        protocol: Protocol of the server.
        name: Name of the server software.
        url: Address of the server.
        folder: The checkpoint that it should run.
        prompt: The checkpoint's prompt.
        launch: The command that starts it.
        timeout: Maximal time of an explanation, in seconds.
        likely_cause: Likely reason why the server ignores embeddings.

    Raises:
        BridgeError: If the server does not answer, refuses, runs another model, or does not read the embeddings.
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
    # A server that ignores embeddings embeds placeholders instead: prompts of equal length then give equal answers.
    if both[0] == both[1]:
        raise BridgeError(
            f"{name} at {url} does not read the embeddings that it is sent: two prompts with nothing in common got the "
            "same probabilities.",
            cause=likely_cause,
            remedy="Use another server, or the verbalizer nla, which runs the checkpoint itself.",
        )


def same_model(served: str, folder: Path) -> bool:
    """Tell whether a served model's name or path matches a checkpoint's.

    Args:
        served: Name or path from the server.
        folder: The local checkpoint.
    """
    here = Path(served).expanduser() / NAME
    if here.is_file():
        return here.read_bytes() == (folder / NAME).read_bytes()
    return bool(_names(Path(served)) & _names(folder))


def _names(path: Path) -> set[str]:
    # For a hub snapshot, models--USER--REPO/snapshots/COMMIT, the repository's name.
    return {path.name.casefold()} | {part.rpartition("--")[2].casefold() for part in path.parts if "--" in part}
