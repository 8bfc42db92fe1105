"""What training a verbalizer came to, for people at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def print_training(record: Mapping[str, Any], out: Path) -> None:
    """Print the losses on held-out documents beside their baselines.

    Args:
        record: What `bridge.pipeline.train_verbalizer` returned.
        out: Where the verbalizer lies.
    """
    table = Table(
        title=f"A verbalizer of {record['model']}, on documents that it was not trained on", title_style="bold"
    )
    for column in ("half", "measure", "value"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for half, measured in record["held_out"].items():
        for name, value in measured.items():
            table.add_row(half.upper(), name.replace("_", " "), f"{value:.3f}")
    console = Console()
    console.print(table)
    console.print(
        "Losses are nats a token: `loss` with the own activation, the others with the mean activation and with another "
        "text's. The difference is what the verbalizer reads in the vector. `fve` is against always giving the mean.",
        highlight=False,
    )
    console.print(f"Written to {out}.", highlight=False)
