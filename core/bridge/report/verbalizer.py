"""The result of training a verbalizer on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.report.table import print_rows
from bridge.terminal import say


def print_training(record: Mapping[str, Any]) -> None:
    """Print the losses on held-out documents with their baselines.

    Args:
        record: The result of `bridge.pipeline.jobs.train_verbalizer`.
    """
    rows = [
        [part, name.replace("_", " "), f"{value:.3f}"]
        for part, measured in record["held_out"].items()
        for name, value in measured.items()
    ]
    title = f"Verbalizer of {record['model']}, on held-out documents"
    print_rows(["part", "measure", "value"], rows, title=title)
    say(
        "Losses are nats a token: `loss` with the own activation, the others with the mean activation and with another "
        "text's. The difference is the information that the verbalizer reads from the vector. `fve` is relative to the "
        "mean activation; `fve_nrm` is over the variance of unit vectors, as model cards print it."
    )
    say(f"Written to {record['folder']}.")
