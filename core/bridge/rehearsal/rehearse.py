"""Rehearse an experiment: check it against the real configurations, and run all of it on stand-ins."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from bridge.errors import BridgeError
from bridge.pipeline.plan.runtime import open_runtime
from bridge.progress import Progress, Silent
from bridge.rehearsal.command import Command, Surroundings
from bridge.rehearsal.estimate import estimates
from bridge.rehearsal.real import look
from bridge.rehearsal.result import Rehearsal
from bridge.rehearsal.stages import Problems, Recorder, stage_of
from bridge.rehearsal.stand_ins import StandIns, build_stand_ins
from bridge.rehearsal.world import offline, stage_set


def rehearse(
    command: Command,
    progress: Progress | None = None,
    *,
    given: Sequence[str] = (),
    require: Sequence[tuple[str, float]] = (),
    flops: float | None = None,
    bandwidth: float | None = None,
    devices: int = 1,
) -> Rehearsal:
    """Run a whole command on random stand-ins, in temporary folders and without a network.

    The real configurations and small files are checked first, as far as they are on this machine; what is wrong is
    replaced by a default, so that the rest is tried as well. The scores of the run are thrown away.

    Args:
        command: The command.
        progress: Receives every stage.
        given: Names of options that were set by flags.
        require: Metrics that the real run will be held to, with their thresholds: only their names are checked.
        flops: Operations per second of the real device; measured on this machine if None.
        bandwidth: Bytes per second that it reads from its memory; measured on this machine if None, as flops is.
        devices: Number of devices that share the weights of one model in the real run.

    Returns:
        What would have failed, what was not tried, and estimates of the real run; no score.
    """
    problems, recorder = Problems(), Recorder(progress or Silent())
    with tempfile.TemporaryDirectory(prefix="bridge-rehearsal-") as folder, offline():
        root = Path(folder)
        runtime = open_runtime(recorder)
        real = look(command, runtime, root / "configurations", problems, given, require)
        costs = estimates(real, flops=flops, bandwidth=bandwidth, devices=devices)
        if not real.whole:
            unchecked = [*real.unchecked, "Nothing was run: the stand-ins need the configurations of all models."]
            return Rehearsal(problems.found, [], recorder.stages, unchecked, False, costs)
        ready = problems.tried("stand-ins", lambda: build_stand_ins(real, runtime, root))
        finished = ready is not None and _performed(command, ready, root, recorder, problems)
        stand_ins, more = (ready.records, ready.unchecked) if ready else ([], [])
        return Rehearsal(problems.found, stand_ins, recorder.stages, [*real.unchecked, *more], finished, costs)


def _performed(command: Command, ready: StandIns, root: Path, recorder: Recorder, problems: Problems) -> bool:
    """Perform the command; tell whether it came to its end."""
    folder = root / "work"
    folder.mkdir()
    where = Surroundings(ready.options, ready.dictionaries, ready.widths, folder, recorder)
    with stage_set(ready.models, root / "cache"):
        try:
            done = command.perform(where)
        except BridgeError as error:
            problems.add(stage_of(error), str(error))
            return False
        except Exception as error:
            problems.add(stage_of(error), f"{type(error).__name__}: {error}")
            return False
    for name, what in done.failed.items():
        problems.add(f"scorer {name}", what)
    if done.scored is not None:
        ready.unchecked.extend(_idle_scorers(done.scored))
    return True


def _idle_scorers(scored: Collection[str]) -> list[str]:
    from bridge.plugins.discovery import discover

    silent = [scorer for name, scorer in sorted(discover().scorers.items()) if name not in scored]
    if not silent:
        return []
    needs = "; ".join(f"{one.name} ({', '.join(sorted(need.value for need in one.needs))})" for one in silent)
    return [f"Scorers that gave no number here, with what each needs: {needs}."]
