"""A rehearsal on the terminal: no score is printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bridge.report.table import print_rows
from bridge.terminal import say


def print_rehearsal(found: Mapping[str, Any]) -> None:
    """Print the document of a `bridge.rehearsal.Rehearsal`."""
    say(
        "Rehearsal on random weights, which are allowed here as by --allow-untrained: every number that it computed is "
        "meaningless, and none is shown or kept."
    )
    if found["stand_ins"]:
        rows = [[one["what"], one["real"], one["stand_in"]] for one in found["stand_ins"]]
        print_rows(["of the experiment", "real", "stand-in"], rows)
    if found["stages"]:
        rows = [
            [one["name"], f"{one['done']}/{one['total']} {one['unit']}", f"{one['seconds']:.1f} s"]
            for one in _joined(found["stages"])
        ]
        print_rows(["stage", "done", "time here"], rows)
    for sentence in found["unchecked"]:
        say(f"Not tried: {sentence}")
    _print_estimates(found["estimates"])
    for problem in found["problems"]:
        say(f"Would fail ({problem['stage']}): {problem['what']}")
    if not found["problems"]:
        say("Everything ran to its end: nothing that was tried would fail.")
    elif found["finished"]:
        say("The rest of the experiment ran to its end, with what is wrong replaced or left out.")


def _joined(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add up stages of the same name that ran several times."""
    joined: dict[tuple[str, str], dict[str, Any]] = {}
    for one in stages:
        place = joined.setdefault((one["name"], one["unit"]), one | {"done": 0, "total": 0, "seconds": 0.0})
        for name in ("done", "total", "seconds"):
            place[name] += one[name]
    return list(joined.values())


def _print_estimates(one: Mapping[str, Any]) -> None:
    bound = "about " if one["tokens_read"] else "at most "
    devices = f"each of {one['devices']} devices" if one["devices"] > 1 else "the device"
    say(
        f"Estimate of the real run in {one['dtype']}, not a measurement of it: {one['fetch_gib']} GiB to fetch; "
        f"{one['memory_gib']} GiB on {devices} for the largest model, of which {one['weights_gib']} GiB are weights; "
        f"{one['host_gib']} GiB of this process besides, for the fit; {one['disk_gib']} GiB of activations on disk; "
        f"{bound}{one['tokens']:,} tokens of text for each model; {one['explanations']:,} explanations, at most "
        f"{one['written_tokens']:,} written tokens."
    )
    rates = "; ".join(f"{rate:,.0f} tokens/s of {name}" for name, rate in one["tokens_per_second"].items())
    speed = f"{one['flops_per_second'] / 1e12:.3g} TFLOP/s"
    speed += f" and {one['bytes_per_second'] / 1e9:.3g} GB/s" if one["bytes_per_second"] else ""
    say(
        f"At {speed} ({one['from']}) the products, and the reads of weights while texts are written, take "
        f"{_time(one['collect_hours'])} for the activations ({rates}) and {_time(one['explain_hours'])} for the "
        "explanations. Real passes reach a part of these speeds: a lower bound."
    )
    if one["unknown"]:
        say(f"The estimate leaves out {', '.join(one['unknown'])}.")


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.0f} hours" if hours >= 10 else f"{hours:.1f} hours"
    return f"{hours * 60:.2g} minutes" if hours >= 1 / 60 else "less than a minute"
