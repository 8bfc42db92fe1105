"""`bridge explain`: explain one model's activations with another model's verbalizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge.cli.flags import OptionsCommand, option_flags
from bridge.cli.options import experiment_options, output_options, print_json, read_given, read_options
from bridge.cli.progress import TerminalProgress
from bridge.cli.rehearsing import rehearse_only, rehearse_option


@click.command("explain", cls=OptionsCommand)
@experiment_options
@click.option("--via", metavar="MODEL@LAYER", help="Model whose verbalizer is used; the same as --dst.")
@click.option("--text", multiple=True, help="Text whose tokens are explained; may be given several times.")
@click.option(
    "--file", "texts", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Texts, one per line."
)
@click.option("--directions", type=click.Path(dir_okay=False, path_type=Path), help="Safetensors file of directions.")
@click.option("--any-layer", is_flag=True, help="Assign all directions to the source's site, ignoring their names.")
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True, help="Explain every n-th token.")
@click.option("--ask", default="", metavar="QUESTION", help="Ask this about each text: one answer from all its tokens.")
@click.option("--verbalizer", "dst_verbalizer", metavar="VERBALIZER", help="A folder, or NAME:OPTION=VALUE,...")
@option_flags("washout", washout="How directions are shown: none, mean, blend or contrast.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File for the result as JSON.")
@rehearse_option
@output_options
def command(
    file: Path | None,
    via: str | None,
    text: tuple[str, ...],
    texts: Path | None,
    directions: Path | None,
    any_layer: bool,
    every: int,
    ask: str,
    washout: tuple[str, ...],
    out: Path | None,
    rehearsed: bool,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Explain a model's activations, or directions, with the verbalizer of another model.

    The activations go through a map between the two models, which is fitted on the corpus if it is not in the cache.
    If the verbalizer has a reconstructor, each explanation is turned into an activation again and moved to the source
    by the reverse map (round trip). Compare its cosine with the cosine of the mean activation, as fve does.

    A verbalizer that is asked, such as an activation oracle, answers a question of each text (--ask): the activations
    of all chosen tokens stand in its prompt together.

    \b
    bridge explain --src smollm2-135m@19 --via gemma3-270m@12 --text "The umbel is a flower of the carrot family"
    bridge explain --src smollm2-135m@19 --via smollm2-135m@19 --verbalizer logit_lens --text "Paris is in"
    """
    from bridge.corpus.read import read_text
    from bridge.errors import UsageError
    from bridge.face.explain import explain_by, refuse_idle
    from bridge.face.files import need_free
    from bridge.report.explain import print_readings

    given = flags | {"dst": via or flags["dst"], "washout": washout or None}
    # splitlines would also split at U+2028 and NEL, which do not end a line of a text file.
    lines = read_text(texts).split("\n") if texts else []
    read = [*text, *(line for line in lines if line.strip())]
    if bool(read) == bool(directions):
        raise UsageError("Give either texts (--text, --file) or --directions.")
    refuse_idle(bool(directions), bool(washout), every, ask)
    if rehearsed:
        named = read_given(file, given)
        shown: dict[str, Any] = {
            "texts": read,
            "every": every,
            "ask": ask,
            "directions": directions,
            "any_layer": any_layer,
        }
        rehearse_only("explain", as_json, quiet, via=named.pop("dst"), out=out, **shown, **named)
    need_free(out)
    options = read_options(file, given)
    progress = TerminalProgress(quiet)
    result = explain_by(options, read, every, directions, out, progress, any_layer=any_layer, ask=ask)
    if as_json:
        print_json(result.document())
    else:
        print_readings(result)
