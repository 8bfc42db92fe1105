"""What training a verbalizer came to, for people at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.report.table import print_rows, say


def print_training(record: Mapping[str, Any]) -> None:
    """Print the losses on held-out documents beside their baselines.

    Args:
        record: What `bridge.pipeline.jobs.train_verbalizer` returned.
    """
    rows = [
        [half.upper(), name.replace("_", " "), f"{value:.3f}"]
        for half, measured in record["held_out"].items()
        for name, value in measured.items()
    ]
    title = f"A verbalizer of {record['model']}, on documents that it was not trained on"
    print_rows(["half", "measure", "value"], rows, title=title)
    say(
        "Losses are nats a token: `loss` with the own activation, the others with the mean activation and with another "
        "text's. The difference is what the verbalizer reads in the vector. `fve` is against always giving the mean; "
        "`fve_nrm` is over the variance of unit vectors, as model cards print it."
    )
    say(f"Written to {record['folder']}.")
