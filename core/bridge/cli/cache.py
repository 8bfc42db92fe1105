"""`bridge cache`: show, verify and prune what is cached."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import output_options, print_json
from bridge.terminal import complain, line

if TYPE_CHECKING:
    from bridge.pipeline.jobs.cache import Entry

DAY = 24 * 3600


@click.group("cache", invoke_without_command=True)
@output_options
@click.pass_context
def command(context: click.Context, as_json: bool, quiet: bool) -> None:
    """Show what the cache (BRIDGE_CACHE_DIR) holds: activations, bridges, unpacked GGUF files, explanations, hashes.

    Everything in it is computed again when it is needed. The last use is as exact as the file system records reads.

    \b
    bridge cache
    bridge cache verify
    bridge cache prune --unused-days 90 --dry-run
    """
    if context.invoked_subcommand:
        if as_json or quiet:
            raise click.UsageError(f"Put options after {context.invoked_subcommand}.")
        return
    from bridge.files import cache_folder
    from bridge.pipeline.jobs.cache import KINDS, entries

    found = list(entries(cache_folder()))
    if as_json:
        print_json({"folder": str(cache_folder()), "entries": [entry.document() for entry in found]})
        return
    from bridge.report.table import print_rows

    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in found:
        groups.setdefault((entry.kind, entry.about), []).append(entry)
    rows = [
        [kind, about or KINDS[kind], str(len(group)), _size(group), _day(max(one.used for one in group))]
        for (kind, about), group in groups.items()
    ]
    total = f"{_size(found)} in {cache_folder()}."
    print_rows(("kind", "of", "entries", "size", "last used"), rows, caption=total)


@command.command("verify")
@output_options
def verify(as_json: bool, quiet: bool) -> None:
    """Hash every file of the cache again, and name what is damaged; exits with 1 if anything is.

    Nothing is changed: damaged entries are computed again when they are needed, and `bridge cache prune --damaged`
    deletes them. Answers of model servers (kind served) are verified only when they are read.
    """
    from bridge.cli.progress import TerminalProgress
    from bridge.files import cache_folder
    from bridge.pipeline.jobs.cache import entries
    from bridge.pipeline.jobs.cache_check import UNVERIFIED, faults

    found = [entry for entry in entries(cache_folder()) if entry.kind not in UNVERIFIED]
    damaged: dict[str, list[str]] = {}
    with TerminalProgress(quiet).stage("verify", len(found), "entries") as advance:
        for entry in found:
            if wrong := faults(entry):
                damaged[str(entry.path)] = wrong
            advance()
    if as_json:
        print_json({"folder": str(cache_folder()), "verified": len(found), "damaged": damaged})
    else:
        for sentence in (one for some in damaged.values() for one in some):
            line(f"DAMAGED: {sentence}")
        line(f"{len(found)} entries verified, {len(damaged)} damaged.")
    sys.exit(1 if damaged else 0)


@command.command("prune")
@click.option("--unused-days", type=click.FloatRange(min=0), metavar="DAYS", help="Not used for so many days.")
@click.option("--larger-mb", type=click.FloatRange(min=0), metavar="MB", help="Larger than this.")
@click.option("--kind", metavar="KIND", help="Of this kind, as `bridge cache` names it.")
@click.option("--model", metavar="TEXT", help="About a model whose name contains this text.")
@click.option("--damaged", is_flag=True, help="Damaged, as `bridge cache verify` finds.")
@click.option("--dry-run", is_flag=True, help="Only list what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_options
def prune(dry_run: bool, yes: bool, as_json: bool, quiet: bool, **chosen: Any) -> None:
    """Delete entries of the cache to which all given conditions apply; at least one condition is needed.

    The entries are listed, and deleted after a confirmation or with --yes. What a living process writes is kept. A
    process that only reads an entry is not noticed: it stops with an error, and the same command computes the entry
    again.

    \b
    bridge cache prune --unused-days 90 --dry-run
    bridge cache prune --kind activations --model gemma --larger-mb 500 --yes
    bridge cache prune --damaged
    """
    from bridge.errors import UsageError, did_you_mean
    from bridge.files import cache_folder
    from bridge.pipeline.jobs.cache import KINDS, entries, remove

    if not any(value is not None and value is not False for value in chosen.values()):
        raise UsageError("No condition is given.", remedy="Give for example --unused-days 90, --kind or --damaged.")
    if chosen["kind"] not in (None, *KINDS):
        raise UsageError(f"There is no kind {chosen['kind']}.", remedy=did_you_mean(chosen["kind"], KINDS))
    found = [entry for entry in entries(cache_folder()) if _applies(entry, **chosen)]
    if not as_json:
        for entry in found:
            line(f"{entry.path} {_size([entry])} {entry.about}")
        line(f"{len(found)} entries, {_size(found)}.")
    if found and not (dry_run or yes):
        if as_json:
            raise UsageError("With --json nobody is asked.", remedy="Give --dry-run or --yes.")
        click.confirm("Delete them?", abort=True, err=True)
    deleted: list[Entry] = []
    held = [] if dry_run else remove(found, deleted.append)
    if as_json:
        listed = {"found": found, "deleted": deleted, "held": held}
        print_json({name: [entry.document() for entry in some] for name, some in listed.items()})
    elif not dry_run:
        line(f"{len(deleted)} entries deleted, {_size(deleted)}.")
    for entry in held:
        complain(f"{entry.path} is kept: another process writes it.")


def _applies(
    entry: Entry,
    unused_days: float | None,
    larger_mb: float | None,
    kind: str | None,
    model: str | None,
    damaged: bool,
) -> bool:
    from bridge.pipeline.jobs.cache_check import faults

    return (
        kind in (None, entry.kind)
        and (model is None or model in entry.about)
        and (unused_days is None or time.time() - entry.used > unused_days * DAY)
        and (larger_mb is None or entry.size > larger_mb * 1e6)
        and (not damaged or bool(faults(entry)))
    )


def _size(found: Sequence[Entry]) -> str:
    return f"{sum(entry.size for entry in found) / 1e6:,.1f} MB"


def _day(since_1970: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(since_1970))
