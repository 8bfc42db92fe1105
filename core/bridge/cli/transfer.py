"""`bridge transfer`: carry things through a fitted bridge."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.options import output_options, print_json


@click.group("transfer")
def command() -> None:
    """Carry things of the source model through a fitted bridge."""


@command.command("directions")
@click.argument("bridge_folder", metavar="BRIDGE", type=click.Path(file_okay=False, path_type=Path))
@click.argument("vectors", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@output_options
def directions(bridge_folder: Path, vectors: Path, out: Path, as_json: bool, quiet: bool) -> None:
    """Move every tensor of the safetensors file VECTORS through BRIDGE, as directions.

    Directions (steering vectors, probes, decoder rows) go through the linear part of the map alone. The result holds
    the same names. The gain is the mean length of a moved direction over its length before.

    \b
    bridge transfer directions runs/my-run steering.safetensors --out steering-on-gemma.safetensors
    """
    from bridge.errors import printable
    from bridge.pipeline.bridge import load_bridge
    from bridge.pipeline.transfer import transfer_directions

    report = transfer_directions(load_bridge(bridge_folder), vectors, out)
    if as_json:
        print_json(report)
    elif not quiet:
        for name, row in report.items():
            click.echo(printable(f"{name}: {row['shape']}, gain {row['gain']:.3f}"))


@command.command("sae")
@click.argument("bridge_folder", metavar="BRIDGE", type=click.Path(file_okay=False, path_type=Path))
@click.argument("dictionary", metavar="SAE")
@click.option("--back", type=click.Path(file_okay=False, path_type=Path), help="A bridge fitted the other way.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@output_options
def sae(bridge_folder: Path, dictionary: str, back: Path | None, out: Path, as_json: bool, quiet: bool) -> None:
    """Write the sparse autoencoder SAE of BRIDGE's source as one of its destination, in SAELens layout.

    SAE is a path or hub:user/repo/subfolder, in any installed format. The result loads in sae-lens and takes the
    destination's own activations. It reads through the inverse of the map; for a map that shrinks (ridge) fit a second
    bridge with --src and --dst exchanged and give it as --back. Score it first: bridge audit.

    \b
    bridge fit --src dyck:seed0@1 --dst dyck:seed1@1 --map procrustes --out rotation
    bridge transfer sae rotation ./sae-of-seed0 --out sae-of-seed1
    """
    from bridge.errors import printable
    from bridge.pipeline.bridge import load_bridge
    from bridge.pipeline.transfer import transfer_sae

    way_back = load_bridge(back) if back else None
    carried = transfer_sae(load_bridge(bridge_folder), dictionary, out, way_back)
    features, d_model = carried.directions.shape
    if as_json:
        print_json({"out": str(out), "features": features, "d_model": d_model, "site": carried.origin.site})
    elif not quiet:
        click.echo(printable(f"{out}: {features} features of {carried.origin.model} at {carried.origin.site}."))
