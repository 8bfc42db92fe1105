"""`bridge report`: write one HTML page for one or more results."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.options import output_options, print_json


@click.command("report")
@click.argument("results", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File to write (default RUN/report.html).")
@output_options
def command(results: tuple[Path, ...], out: Path | None, as_json: bool, quiet: bool) -> None:
    """Write one self-contained HTML page for RESULTS, which needs no network and no scripts.

    RESULTS are folders of bridge run and bridge sweep, and JSON files that bridge audit, steer or explain wrote with
    --out. Several runs are compared. The page is made from these files alone. An existing report is replaced; no other
    file is changed.

    \b
    bridge report runs/my-run
    bridge report runs/ridge runs/procrustes --out compared.html
    bridge report runs/my-run audit.json steering.json --out whole.html
    """
    from bridge.face.report import write_report
    from bridge.terminal import say

    written = write_report(results, out=out)
    if as_json:
        print_json({"report": str(written), "bytes": written.stat().st_size})
    else:
        say(f"Report: {written}")
