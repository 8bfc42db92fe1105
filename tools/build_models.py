"""Write docs/MODELS.md: which points work in which causal class of the installed transformers."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Try every class, which takes two minutes, and write the page."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
    from bridge.plugins import discover
    from tiny_causal import MODELS_PAGE, causal_types, models_page, outcome

    adapter = discover().models["huggingface"]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [outcome(model_type, adapter, Path(folder)) for model_type in causal_types()]
    MODELS_PAGE.write_text(models_page(outcomes), encoding="utf-8")
    sys.stdout.write(f"{MODELS_PAGE}\n")


if __name__ == "__main__":
    main()
