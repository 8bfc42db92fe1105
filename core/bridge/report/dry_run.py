"""A dry run on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.report.table import print_rows
from bridge.terminal import say


def print_dry_run(found: Mapping[str, Any]) -> None:
    """Print the result of `bridge.pipeline.jobs.dry_run`."""
    rows = [
        [
            one["reference"],
            one["weights"],
            "here" if one["here"] else "to be fetched",
            f"{one['d_model']} x {one['depth'][0]}/{one['depth'][1]} blocks",
            "?" if one["parameters"] is None else f"{_size(one['parameters'])}, {one['memory_gib']} GiB",
        ]
        for one in found["models"].values()
        if one
    ]
    print_rows(["model", "weights", "", "width x depth read", "size"], rows)
    for one in found["models"].values():
        for note in one["notes"] if one else []:
            say(note)
    for side, source in found["activations"].items():
        decides = [f"{name} {value}" for name, value in (source or {}).items() if name not in ("source", "notes")]
        if source and decides:
            line = f"{side} activations come from {source['source']} ({', '.join(decides)})."
            say(" ".join([line, *source["notes"]]))
    for side, verbalizer in found.get("verbalizers", {}).items():
        for line in [verbalizer["name"], *verbalizer["loads"]] if verbalizer else []:
            say(f"{side} verbalizer: {line}")
    if found.get("dictionary"):
        one = found["dictionary"]
        size = f"{one['features']} features, {one['d_model']} wide"
        say(f"Dictionary {one['reference']}: {size}; {one['explained']} explained.")
        for note in one.get("notes", ()):
            say(f"Dictionary {one['reference']}: {note}")
    if found["corpus"]:
        one = found["corpus"]
        say(f"Corpus {one['name']}: {one['documents']:,} documents, about {one['tokens']:,} tokens.")
        for remark in one.get("remarks", []):
            say(remark)
    if "estimates" in found:
        one = found["estimates"]
        speed = f"{one['assumed_flops_per_second'] / 1e12:g} TFLOP/s"
        say(
            f"About {one['collect_hours']} hours of forward passes on {one['device']}, assuming {speed}; "
            f"{one['cache_gib']} GiB of cached activations; the larger model takes {one['largest_model_gib']} GiB; "
            f"{one['explanations']} explanations."
        )
    for problem in found["problems"]:
        say(f"Problem: {problem}")
    if not found["problems"]:
        say("No problems found.")


def _size(parameters: int) -> str:
    return f"{parameters / 1e9:.2f}B" if parameters >= 5e6 else f"{parameters / 1e6:.2f}M"
