"""`bridge audit`: test whether one model's dictionary works in others, with controls."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bridge.cli.flags import OptionsCommand, option_flags
from bridge.cli.options import experiment_options, output_options, print_json, read_given, read_options
from bridge.cli.progress import TerminalProgress
from bridge.cli.rehearsing import rehearse_only, rehearse_option


@click.command("audit", cls=OptionsCommand)
@experiment_options
@click.option("--sites", help="Sites of both models, as 3,6,9; all: every site for which the source has a dictionary.")
@click.option("--dictionary", metavar="SAE", help="The source's dictionary: a path, or hub:user/repo/subfolder.")
@click.option("--dst-dictionary", metavar="SAE", help="The destination's own dictionary at its site.")
@option_flags("allow_other_model")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File for the result as JSON.")
@rehearse_option
@output_options
def command(
    file: Path | None,
    sites: str | None,
    dictionary: str | None,
    dst_dictionary: str | None,
    out: Path | None,
    rehearsed: bool,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Transfer a model's sparse autoencoder to one or more other models, and compare every number with its control.

    For each target and site: explained variance of the transferred dictionary (self, raw, mapped, mispaired), decoder
    match with and without the map, per-feature firing, the rotation against random rotations, and the loss of the live
    model with the reconstruction in place. The default map is procrustes:scaled=false.

    Dictionaries in a checkpoint's own folder (dictionaries/SITE/NAME) are found automatically.

    \b
    bridge audit --src dyck:seed0 --dst dyck:seed1..4 --sites all
    bridge audit --src ./mine@3 --dst ./other@3 --dictionary my-sae/ --dst-dictionary other-sae/
    """
    from bridge.face.files import need_free, write_document
    from bridge.face.live import AUDIT_MAP
    from bridge.pipeline.jobs.audit import audit
    from bridge.pipeline.transfer.dictionary_sets import Dictionaries
    from bridge.report.audit import print_audit

    if rehearsed:
        named = {"sites": sites, "dictionary": dictionary, "dst_dictionary": dst_dictionary}
        given = read_given(file, flags) | {name: text for name, text in named.items() if text}
        rehearse_only("audit", as_json, quiet, out=out, **given)
    need_free(out)
    options = read_options(file, {"map": AUDIT_MAP} | {k: v for k, v in flags.items() if v is not None})
    dictionaries = Dictionaries(dictionary or "", dst_dictionary or "", options.dictionary.allow_other_model)
    result = audit(options, sites or "", dictionaries, TerminalProgress(quiet), sys.stdin)
    write_document(out, result.document())
    if as_json:
        print_json(result.document())
    else:
        print_audit(result)
