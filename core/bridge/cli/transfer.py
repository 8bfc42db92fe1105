"""`bridge transfer`: transfer directions, probes and dictionaries through a fitted bridge."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import click

from bridge.cli.options import output_options, print_json
from bridge.cli.progress import TerminalProgress
from bridge.cli.rehearsing import rehearse_only, rehearse_option
from bridge.terminal import line


@click.group("transfer")
def command() -> None:
    """Transfer directions, probes or a dictionary of the source model through a fitted bridge."""


@command.command("directions")
@click.argument("bridge_folder", metavar="BRIDGE", type=click.Path(file_okay=False, path_type=Path))
@click.argument("vectors", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--dictionary", default="", metavar="SAE", help="Move decoder rows of this dictionary of the source instead."
)
@click.option("--features", default="", metavar="FEATURES", help="Features whose rows are moved, as 3,17,45-50.")
@click.option("--allow-other-model", is_flag=True, help="Accept a dictionary whose file names another model.")
@click.option("--any-layer", is_flag=True, help="Assign all vectors to the source's site, ignoring their names.")
@click.option("--score/--no-score", default=True, help="Score them on the bridge's held-out activations (default).")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@rehearse_option
@output_options
def directions(bridge_folder: Path, rehearsed: bool, as_json: bool, quiet: bool, **given: Any) -> None:
    """Move every tensor of the safetensors file VECTORS through BRIDGE, as directions.

    Directions (steering vectors, decoder rows) go through the linear part of the map only. The result has the same
    names; rows of a dictionary are one tensor, directions, in the order of --features. The gain is the mean length of a
    moved direction over its length before. For probes, which read activations instead of adding to them, use bridge
    transfer probes. r is the correlation of held-out rows' projections on the given direction with their partners'
    projections on the moved direction, beside directions moved by a map of mispaired rows; bridge steer measures
    effects.

    \b
    bridge transfer directions runs/my-run steering.safetensors --out steering-on-gemma.safetensors
    bridge transfer directions runs/my-run --dictionary ./my-sae --features 3,17,45-50 --out rows.safetensors
    """
    from bridge.face.transfer import transfer_directions

    if rehearsed:
        _rehearse("transfer_directions", bridge_folder, given, as_json, quiet)
    _print(transfer_directions(bridge_folder, progress=TerminalProgress(quiet), **given).document(), as_json)


@command.command("probes")
@click.argument("bridge_folder", metavar="BRIDGE", type=click.Path(file_okay=False, path_type=Path))
@click.argument("probes", metavar="PROBES", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--back", type=click.Path(file_okay=False, path_type=Path), help="A bridge fitted from destination to source."
)
@click.option("--score/--no-score", default=True, help="Score on the bridge's held-out activations (default).")
@click.option("--any-layer", is_flag=True, help="Assign all probes to the source's site, ignoring their names.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@rehearse_option
@output_options
def probes(bridge_folder: Path, rehearsed: bool, as_json: bool, quiet: bool, **given: Any) -> None:
    """Write the linear probes of the safetensors file PROBES as probes of BRIDGE's destination.

    PROBES has for each probe a tensor NAME, (width,) or (n, width), and, if the probe has a bias, a tensor NAME.bias. A
    transferred probe applies the reverse map to an activation of the destination and then the given probe. Every
    transferred probe has a bias, because the models' means differ. The reverse map was fitted with the bridge; --back
    gives another. The command prints, and stores with the probes, how their outputs on held-out activations agree with
    those of the given probes (EV: share of the variance; r: correlation).

    \b
    bridge transfer probes rotation truth-probe.safetensors --out truth-probe-on-gemma.safetensors
    """
    from bridge.face.transfer import transfer_probes

    if rehearsed:
        _rehearse("transfer_probes", bridge_folder, given, as_json, quiet)
    _print(transfer_probes(bridge_folder, progress=TerminalProgress(quiet), **given).document(), as_json)


@command.command("sae")
@click.argument("bridge_folder", metavar="BRIDGE", type=click.Path(file_okay=False, path_type=Path))
@click.argument("dictionary", metavar="SAE")
@click.option(
    "--back", type=click.Path(file_okay=False, path_type=Path), help="A bridge fitted from destination to source."
)
@click.option("--score/--no-score", default=True, help="Score on the bridge's held-out activations (default).")
@click.option("--allow-other-model", is_flag=True, help="Accept a dictionary whose file names another model.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@rehearse_option
@output_options
def sae(bridge_folder: Path, out: Path, rehearsed: bool, as_json: bool, quiet: bool, **given: Any) -> None:
    """Write the sparse autoencoder SAE of BRIDGE's source as an autoencoder of its destination, in SAELens layout.

    SAE is a path or hub:user/repo/subfolder, in any installed format. The result loads in sae-lens and takes the
    destination's own activations. Its encoder includes the reverse map, which was fitted with the bridge; --back gives
    another. The command prints, and stores in transfer.json, the share of the destination's held-out variance that the
    result reconstructs. bridge audit computes more scores.

    \b
    bridge fit --src dyck:seed0@1 --dst dyck:seed1@1 --map procrustes --out rotation
    bridge transfer sae rotation ./sae-of-seed0 --out sae-of-seed1
    """
    from bridge.face.transfer import transfer_sae

    if rehearsed:
        _rehearse("transfer_sae", bridge_folder, given | {"out": out}, as_json, quiet)
    carried = transfer_sae(bridge_folder, out=out, progress=TerminalProgress(quiet), **given)
    if as_json:
        print_json({"out": str(out)} | carried.document())
        return
    origin, about = carried.dictionary.origin, carried.provenance
    line(f"{out}: {len(carried.dictionary.directions)} features of {origin.model} at {origin.site}.")
    if carried.held_out:
        mapped, given = (carried.held_out[arm] for arm in ("mapped", "self"))
        line(
            f"It explains {_ev(mapped)} of the variance of {mapped['n']} held-out activations of {about['dst']}; "
            f"the original explains {_ev(given)} on {about['src']}.{_beside(carried.held_out)}"
        )
        if (mapped["ev"] or 0) <= 0:
            line("That is NO better than the mean activation: the dictionary does not work there.")
    else:
        line("It is NOT scored: its quality on the destination is unknown. See bridge audit.")


def _rehearse(name: str, bridge_folder: Path, given: dict[str, Any], as_json: bool, quiet: bool) -> NoReturn:
    rehearse_only(name, as_json, quiet, bridge_folder, **given)


def _print(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(report)
    else:
        for name, row in report.items():
            scored = row.get("held_out")
            said = ""
            if scored and "ev" in scored:
                said = f"; agrees on {scored['n']} held-out rows: EV {_ev(scored)}, r {_number(scored['r'])}"
                said += _beside(scored)
            elif scored:
                ends = f"[{_number(scored['low'])}, {_number(scored['high'])}]"
                said = f"; projections of {scored['n']} held-out pairs correlate: r {_number(scored['r'])} {ends}"
                said += f" (mispaired {_number(control['r'])})" if (control := scored.get("mispaired")) else ""
            line(f"{name}: {row['shape']}, gain {row['gain']:.3f}{said}")


def _beside(scored: dict[str, Any]) -> str:
    """Return what the mispaired control scores, where there is one."""
    control = scored.get("mispaired")
    return f" A map of mispaired rows: EV {_ev(control)}." if control else ""


def _ev(scored: dict[str, Any]) -> str:
    return f"{_number(scored['ev'])} [{_number(scored['low'])}, {_number(scored['high'])}]"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
