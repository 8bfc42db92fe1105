"""Rehearse an experiment, or the call of any function that runs models."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, Unpack

if TYPE_CHECKING:
    from bridge.keywords import Keywords
    from bridge.rehearsal import Rehearsal

Arguments = ParamSpec("Arguments")
TERA, GIGA = 1e12, 1e9


def rehearse(
    src: str,
    dst: str,
    *,
    flops: float | None = None,
    bandwidth: float | None = None,
    devices: int = 1,
    **options: Unpack[Keywords],
) -> Rehearsal:
    """Run an experiment on small random stand-ins, without a network, to find what would fail in `run`.

    Args:
        src: Source model and layer.
        dst: Destination model and layer.
        flops: Speed of the real device for the estimate, in 1e12 operations per second; measured here if None.
        bandwidth: Speed at which it reads its memory, in GB/s, for the estimate of explanations.
        devices: Number of devices that share a model's weights in the real run.
        options: As for `fit`.

    Returns:
        What would have failed, what was not tried, and estimates; no score.

    Raises:
        bridge.errors.UsageError: If an option is unknown or has an invalid value.
    """
    from bridge.rehearsable import COMMANDS
    from bridge.rehearsal import rehearse as perform

    speed, read = None if flops is None else flops * TERA, None if bandwidth is None else bandwidth * GIGA
    return perform(COMMANDS["run"](src, dst, **options), flops=speed, bandwidth=read, devices=devices)


def rehearse_call(function: Callable[Arguments, Any], *args: Arguments.args, **keywords: Arguments.kwargs) -> Rehearsal:
    """Rehearse the call of a function of `bridge`, as `rehearse_call(bridge.audit, "a@3", "b@5")`.

    Args:
        function: `bridge.run`, `fit`, `sweep`, `audit`, `explain`, `explain_through`, `steer`, `train_verbalizer`,
            `fit_lens`, `transfer_directions`, `transfer_probes` or `transfer_sae`.
        args: Its arguments. What they name is checked, and nothing is written where they say.
        keywords: Its keywords; `progress` receives the stages of the rehearsal.

    Returns:
        What would have failed, what was not tried, and estimates; no score.

    Raises:
        bridge.errors.UsageError: If the function runs no models, or an option is unknown or has an invalid value.
        bridge.errors.BridgeError: If a bridge or an input cannot be read.
    """
    from bridge.errors import UsageError
    from bridge.rehearsable import COMMANDS
    from bridge.rehearsal import rehearse as perform

    name = getattr(function, "__name__", "")
    if getattr(function, "__module__", "").partition(".")[0] != "bridge" or name not in COMMANDS:
        raise UsageError(
            f"{name or function} cannot be rehearsed.", remedy=f"These functions of bridge can: {', '.join(COMMANDS)}."
        )
    given: dict[str, Any] = dict(keywords)
    progress = given.pop("progress", None)
    return perform(COMMANDS[name](*args, **given), progress)
