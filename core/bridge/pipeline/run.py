"""The main job: fit a bridge, score it against its controls on held-out documents, leave a folder."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, final

from bridge.errors import BridgeError, ThresholdUnmetError, UsageError
from bridge.metrics import Metric, document
from bridge.pipeline.bridge import ARRAYS, RECORD, Bridge
from bridge.pipeline.fit import Fit, fit_arms, fit_plan
from bridge.pipeline.options import Options, to_toml
from bridge.pipeline.pairs import StoredPairs
from bridge.pipeline.prepare import Plan, prepare
from bridge.pipeline.workbench import Workbench, open_workbench
from bridge.progress import Progress
from bridge.scorers import MAPPED, Evidence, Need, Scorer
from bridge.split import HELD_OUT
from bridge.store import write_bytes

METRICS, CONFIG, CORPUS = "metrics.json", "config.toml", "corpus.jsonl"
_REQUIREMENT = re.compile(r"\s*([\w@]+)\s*>=\s*(-?[\d.]+(?:e-?\d+)?)\s*")


@final
@dataclass(frozen=True)
class Run:
    """A scored bridge.

    Attributes:
        bridge: The fitted bridge.
        metrics: Every arm's numbers.
        folder: Where everything was written, or None.
    """

    bridge: Bridge
    metrics: list[Metric]
    folder: Path | None

    def document(self) -> dict[str, object]:
        """Return the result in its one shape, as in `metrics.json`."""
        return document(self.metrics, self.bridge.provenance)


def run(
    options: Options,
    out: Path | None = None,
    progress: Progress | None = None,
    stdin: IO[str] | None = None,
    requirements: Sequence[str] = (),
) -> Run:
    """Fit, score and write.

    Args:
        options: What to do.
        out: Where to write; nothing is written if None.
        progress: Is told of every stage.
        stdin: Where a corpus `-` comes from.
        requirements: Such as `ev>=0.3`: the mapped arm must reach these.

    Raises:
        ThresholdUnmetError: If a requirement is not met; everything is written before.
        BridgeError: As `prepare` and `fit`.
    """
    wanted = [_parse_requirement(text) for text in requirements]
    bench = open_workbench(progress)
    plan = prepare(options, bench, stdin)
    if out is not None:
        _refuse_foreign_folder(out, plan)
    result = fit_plan(plan, bench)
    metrics = score(result, bench)
    if out is not None:
        _write(out, result, metrics)
    _check(wanted, metrics)
    return Run(result.bridge, metrics, out)


def score(result: Fit, bench: Workbench) -> list[Metric]:
    """Run every scorer whose needs are met on the held-out documents."""
    options = result.plan.options
    arms = fit_arms(options.build_map(bench.registry), result.bridge.fitted, result, list(range(options.folds)), bench)
    evidence = Evidence(
        result.bridge.src,
        result.bridge.dst,
        result.bridge.map,
        arms,
        StoredPairs(result.rows, HELD_OUT, result.training),
        options.seed,
    )
    at_hand = {Need.HELD_OUT_PAIRS, Need.MAP}
    scorers = [scorer for scorer in bench.registry.scorers.values() if scorer.needs <= at_hand]
    metrics: list[Metric] = []
    with bench.progress.stage("score", len(scorers), "scorers") as advance:
        for scorer in scorers:
            metrics += checked_scores(scorer, evidence, bench)
            advance()
    return metrics


def checked_scores(scorer: Scorer, evidence: Evidence, bench: Workbench) -> list[Metric]:
    """Run one scorer; one that breaks or returns nonsense is named and left out, and costs nothing else."""
    try:
        metrics = list(scorer.score(evidence))
        for metric in metrics:
            if not isinstance(metric, Metric) or not math.isfinite(metric.value):
                raise BridgeError(f"it returned {metric!r}")
    except Exception as error:  # whatever a plugin does wrong must not cost the user the fitted map
        bench.progress.note(f"The scorer {scorer.name} failed and is left out: {type(error).__name__}: {error}")
        return []
    return metrics


def default_folder(options: Options) -> Path:
    """Return where a run goes if the user names no folder: `runs/SRC--DST--MAP`."""
    return Path("runs") / re.sub(r"[^\w@.\-]+", "_", f"{options.src}--{options.dst}--{options.map}").strip("._")


def _refuse_foreign_folder(out: Path, plan: Plan) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    config = out / CONFIG
    if not config.is_file() or config.read_text(encoding="utf-8") != _config(plan, out):
        raise UsageError(
            f"{out} already holds something else.",
            cause="It is not a run of exactly these options, and nothing is overwritten.",
            remedy="Choose another --out, or move it away.",
        )


def _write(out: Path, result: Fit, metrics: Iterable[Metric]) -> None:
    if result.plan.options.corpus == "-":
        write_bytes(out / CORPUS, result.plan.corpus.to_jsonl().encode())
    write_bytes(out / CONFIG, _config(result.plan, out).encode())
    result.bridge.save(out)
    data = document(metrics, result.bridge.provenance)
    write_bytes(out / METRICS, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False).encode())


def _config(plan: Plan, out: Path) -> str:
    options, path = plan.options, Path(plan.options.corpus)
    if options.corpus == "-":
        corpus = str((out / CORPUS).absolute())
    else:
        corpus = str(path.absolute()) if path.exists() else options.corpus
    return to_toml(options.model_copy(update={"corpus": corpus, "corpus_sha256": plan.corpus.identity}))


def _parse_requirement(text: str) -> tuple[str, float]:
    match = _REQUIREMENT.fullmatch(text)
    if not match:
        raise UsageError(f"{text!r} is not a requirement.", remedy="Write, for example, --require 'ev>=0.3'.")
    return match[1], float(match[2])


def _check(wanted: Iterable[tuple[str, float]], metrics: Iterable[Metric]) -> None:
    values = {metric.name: metric.value for metric in metrics if metric.arm == MAPPED}
    for name, least in wanted:
        if name not in values:
            raise UsageError(f"No scorer measured {name}.", remedy=f"Measured: {', '.join(sorted(values))}.")
        if values[name] < least:
            raise ThresholdUnmetError(f"{name} is {values[name]:.4f}, below the required {least:g}.")


__all__ = ["ARRAYS", "CONFIG", "METRICS", "RECORD", "Run", "default_folder", "run", "score"]
