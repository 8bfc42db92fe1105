"""The commands that can be rehearsed; each function takes the arguments of the Python function of its name."""

from __future__ import annotations

from collections.abc import Callable

from bridge.rehearsable.pair import audit, explain, fit, run, sweep
from bridge.rehearsable.single import fit_lens, train_verbalizer
from bridge.rehearsable.through import explain_through, steer
from bridge.rehearsable.transfers import transfer_directions, transfer_probes, transfer_sae
from bridge.rehearsal.command import Command

COMMANDS: dict[str, Callable[..., Command]] = {
    function.__name__: function
    for function in (
        *(run, fit, sweep, audit, explain, explain_through, train_verbalizer, fit_lens, steer),
        *(transfer_directions, transfer_probes, transfer_sae),
    )
}
"""By the name of the Python function."""
