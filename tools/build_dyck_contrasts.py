"""Write the contrast sets of the dyck family: prefixes of words, classed by what the family has to keep track of.

python tools/build_dyck_contrasts.py plugins/models/bridge_toys/dyck/contrasts
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from bridge_toys.dyck.language import CLOSING, MAX_DEPTH, OPENING, sample

PER_CLASS, SEED = 300, 77_077
KINDS = {"round": "(", "square": "[", "curly": "{"}


def main(folder: Path) -> None:
    """Write sets by depth, where only closing or only opening is allowed, and by the innermost open bracket."""
    rng = np.random.default_rng(SEED)
    words = sample(rng, 60_000, broken=0.0).texts
    prefixes = list(dict.fromkeys(text[: int(rng.integers(12, 56))] for text in words))
    stacks = {prefix: open_brackets(prefix) for prefix in prefixes}
    sets = {
        "full-half": {"full": lambda s: len(s) == MAX_DEPTH, "half": lambda s: len(s) in (3, 4, 5)},
        "empty-half": {"empty": lambda s: not s, "half": lambda s: len(s) in (3, 4, 5)},
    }
    for first, second in (("round", "square"), ("square", "curly"), ("curly", "round")):
        sets[f"{first}-{second}"] = {
            name: lambda s, name=name: len(s) in (2, 3, 4) and s[-1] == KINDS[name] for name in (first, second)
        }
    folder.mkdir(parents=True, exist_ok=True)
    for name, classes in sets.items():
        records = [
            {"text": prefix, "class": label}
            for label, belongs in classes.items()
            for prefix in [prefix for prefix in prefixes if belongs(stacks[prefix])][:PER_CLASS]
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
        print(f"{name}: {len(records)} texts")


def open_brackets(prefix: str) -> list[str]:
    """Return the open brackets of a valid prefix, outermost first."""
    stack: list[str] = []
    for bracket in prefix:
        if bracket in OPENING:
            stack.append(bracket)
        elif bracket in CLOSING:
            stack.pop()
    return stack


if __name__ == "__main__":
    main(Path(sys.argv[1]))
