"""`bridge run`: fit a bridge, score it against controls, and write a folder."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.flags import OptionsCommand, option_flags
from bridge.cli.options import experiment_options, output_options, print_json, read_given, read_options
from bridge.cli.parts import collect_only, part_option
from bridge.cli.progress import TerminalProgress
from bridge.cli.rehearsing import rehearse_only, rehearse_option

if TYPE_CHECKING:
    from bridge.pipeline.jobs.run import Run
    from bridge.pipeline.plan.options import Options


@click.command("run", cls=OptionsCommand)
@experiment_options
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for results (default runs/...).")
@click.option("--dry-run", is_flag=True, help="Only print downloads, memory and time of the run.")
@part_option
@rehearse_option
@click.option("--require", multiple=True, metavar="METRIC>=X", help="Exit with 4 unless the mapped arm reaches X.")
@option_flags(
    "dictionary", "allow_other_model", "features", "positions", "src_verbalizer", "dst_verbalizer", "washout", "encoder"
)
@output_options
def command(
    file: Path | None,
    out: Path | None,
    require: tuple[str, ...],
    washout: tuple[str, ...],
    dry_run: bool,
    part: str | None,
    rehearsed: bool,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Bridge two models and score the bridge against its controls; without arguments, two small bundled models.

    Both models read the same text. Their activations at the two layers are paired where tokens end at the same
    character. A map is fitted on most documents and scored on the others. Every score is shown with the scores of the
    same procedure on mispaired rows and with a random map: interpret the difference, not the number alone.

    With --dictionary, features of the source are explained by its own verbalizer and, through the map, by the
    destination's; lift is the similarity of the two texts minus the similarity to texts of random directions.

    The folder holds report.html (open it in a browser), bridge.safetensors and bridge.json (load with bridge.load),
    metrics.json, and config.toml, which repeats the run: bridge run FOLDER/config.toml.

    \b
    bridge run                                            # all stages on bundled models, in about a minute
    bridge run --src smollm2-135m@19 --dst gemma3-270m@12
    bridge run --src pythia-70m:seed1@3 --dst pythia-70m:seed2@3 --map procrustes
    bridge run --src smollm2-135m@19 --dst gemma3-270m@12 --dictionary ./my-sae --features 45
    bridge run experiment.toml --require "ev>=0.3" --json
    bridge run experiment.toml --part 3/8                 # one task of a job array
    """
    from bridge.pipeline.jobs.folder import default_folder
    from bridge.pipeline.jobs.run import run
    from bridge.pipeline.plan.idle import refuse_idle
    from bridge.pipeline.score.thresholds import check_requirements, parse_requirements
    from bridge.report.html import REPORT, need_ours, write_report
    from bridge.terminal import say

    wanted = parse_requirements(require)
    flags |= {"washout": washout or None}
    file = demo(flags) if file is None else file
    given = {name for name, value in flags.items() if value is not None}
    if rehearsed:
        how = {"given": tuple(given), "require": wanted}
        rehearse_only("run", as_json, quiet, how=how, out=out, **read_given(file, flags))
    options = read_options(file, flags)
    refuse_unknown(wanted, options)
    if dry_run:
        plan_only(options, given, as_json, quiet)
        return
    if part:
        collect_only(options, part, as_json, quiet)
        return
    refuse_idle(options, given)
    folder = out or default_folder(options)
    need_ours(folder / REPORT)
    result = run(options, folder, TerminalProgress(quiet), sys.stdin)
    if as_json:
        print_json(result.document())
    else:
        print_result(result)
    report = write_report([folder], folder / REPORT)
    if not as_json:
        say(f"Report: {report}")
    check_requirements(wanted, result.metrics)


def print_result(result: Run) -> None:
    """Print the scores, and what was explained."""
    from bridge.display.measures import installed_measures
    from bridge.report.features import print_features
    from bridge.report.table import print_run
    from bridge.scorers import Section
    from bridge.terminal import say

    # Looked up once: finding plugins takes a twentieth of a second.
    measures = installed_measures()
    print_run(result, measures)
    if result.verbalized and result.verbalized.features:
        print_features(result.verbalized.features, result.metrics, measures)
    for sentence in measures.sentences(result.metrics, Section.ACTIVATIONS):
        say(sentence)


def demo(flags: dict[str, Any]) -> Path | None:
    """Return the bundled experiment if no flag names a model, else None."""
    if flags["src"] or flags["dst"]:
        return None
    return Path(str(resources.files("bridge").joinpath("data/demo.toml")))


def refuse_unknown(wanted: Sequence[tuple[str, float]], options: Options) -> None:
    """Refuse requirements on metrics that this run does not compute, before it starts."""
    if not wanted:
        return
    from bridge.pipeline.score.thresholds import refuse_unmeasured
    from bridge.plugins import discover
    from bridge.scorers import Need

    explained = {Need.EXPLANATIONS: options.dictionary.reference, Need.READINGS: options.verbalize.positions}
    refuse_unmeasured(wanted, discover().scorers, {need for need, asked in explained.items() if asked})


def plan_only(options: Options, given: Collection[str], as_json: bool, quiet: bool) -> None:
    """Print the dry run; exit with 1 if a problem prevents the run."""
    from bridge.pipeline.jobs.dry_run import dry_run
    from bridge.pipeline.plan.runtime import open_runtime
    from bridge.report.dry_run import print_dry_run

    found = dry_run(options, open_runtime(TerminalProgress(quiet)), given)
    if as_json:
        print_json(found)
    else:
        print_dry_run(found)
    sys.exit(1 if found["problems"] else 0)
