"""Checks before the first request: servers answer, run the right model, and read embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bridge.errors import BridgeError, UsageError, printable
from bridge.files import expand_user
from bridge_verbalizers.nla.sidecar import NAME
from bridge_verbalizers.serving.client import UnansweredError, connect, insist
from bridge_verbalizers.serving.prompt import Prompt
from bridge_verbalizers.serving.protocol import extract
from bridge_verbalizers.serving.server import Server, listed

PATIENCE = 30.0
"""Seconds until the first answer: SGLang's /health generates a token, and may wait 20 seconds."""


async def check_servers(
    servers: Sequence[Server], folder: Path, prompt: Prompt, timeout: float, likely_cause: str
) -> dict[Server, BridgeError]:
    """Check servers at the same time.

    Args:
        servers: The servers.
        folder: The checkpoint that they should run.
        prompt: The checkpoint's prompt.
        timeout: Maximal time of an explanation, in seconds.
        likely_cause: Likely reason why a server ignores embeddings.

    Returns:
        The servers that do not answer, with what happened; fewer than all.

    Raises:
        BridgeError: If no server answers, or one refuses, runs another model, or does not read the embeddings.
    """

    async def failure(server: Server) -> UnansweredError | None:
        """Return why a server does not answer."""
        try:
            await _check(server, folder, prompt, timeout, likely_cause)
        except UnansweredError as error:
            return error
        return None

    found = await asyncio.gather(*map(failure, servers))
    failed: dict[Server, BridgeError] = {
        server: error for server, error in zip(servers, found, strict=True) if error is not None
    }
    if len(failed) < len(servers):
        return failed
    if len(servers) == 1:
        raise _cannot_explain(servers[0], failed[servers[0]]) from failed[servers[0]]
    raise BridgeError(
        f"None of the {len(servers)} servers can explain. {listed(failed)}",
        remedy=f"Start one at least: `{servers[0].launch}`.",
    )


async def _check(server: Server, folder: Path, prompt: Prompt, timeout: float, likely_cause: str) -> None:
    """Check a server; raises UnansweredError if it does not answer, and BridgeError if it must not be used."""
    protocol = server.protocol
    vector = np.random.default_rng(0).normal(size=prompt.rows.shape[1]).astype(np.float32)
    try:
        async with connect(server.url, 1) as client:
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
    except (UsageError, UnansweredError):
        raise
    except BridgeError as error:
        raise _cannot_explain(server, error) from error
    # A server that ignores embeddings embeds placeholders instead: prompts of equal length then give equal answers.
    if both[0] == both[1]:
        raise BridgeError(
            f"{server} does not read the embeddings that it is sent: two prompts with nothing in common got the same "
            "probabilities.",
            cause=likely_cause,
            remedy="Use another server, or the verbalizer nla, which runs the checkpoint itself.",
        )


def _cannot_explain(server: Server, error: BridgeError) -> BridgeError:
    return BridgeError(
        f"{server} cannot explain. {error.what}", cause=error.cause, remedy=f"Start it: `{server.launch}`."
    )


def same_model(served: str, folder: Path) -> bool:
    """Tell whether a served model's name or path matches a checkpoint's.

    Args:
        served: Name or path from the server.
        folder: The local checkpoint.
    """
    here = expand_user(served) / NAME
    if here.is_file():
        return here.read_bytes() == (folder / NAME).read_bytes()
    return bool(_names(Path(served)) & _names(folder))


def _names(path: Path) -> set[str]:
    # For a hub snapshot, models--USER--REPO/snapshots/COMMIT, the repository's name.
    return {path.name.casefold()} | {part.rpartition("--")[2].casefold() for part in path.parts if "--" in part}
