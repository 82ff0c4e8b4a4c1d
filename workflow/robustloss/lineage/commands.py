"""The questions to a results folder as commands: `python -m robustloss verify`, `rests-on`, `why`, `unused`, ..."""

import json
from collections.abc import Callable
from pathlib import Path

from robustloss.errors import Problem
from robustloss.lineage import stored


def add(stage: Callable) -> None:
    """Add the commands; `stage` makes the parser of one from its function and a sentence."""
    parser = stage(verify, "look at every byte of the results and say what is not as it was written")
    _folders(parser, positional=True)

    parser = stage(rests_on, "say which runs a table, row, cell, figure or claim rests on, and how each was made")
    _folders(parser)
    parser.add_argument("--paper", required=True, help="the paper, such as chen2019")
    parser.add_argument("--table", required=True, help="a table or figure, such as table3, or `claims`")
    parser.add_argument("--row", help="a row of the table, or C1 of the claims")
    parser.add_argument("--column", help="a column of the table")
    parser.add_argument("--json", action="store_true", help="the whole records")

    parser = stage(why, "say why a job would run: how what exists differs from what the configuration asks for")
    parser.add_argument("target", nargs="?", help="a run, a result, data or a paper; all that is missing if left out")
    _folders(parser)
    _configuration(parser)

    parser = stage(unused, "list what no paper at any scale refers to")
    _folders(parser)
    _configuration(parser)
    parser.add_argument("--delete", action="store_true", help="remove it, too")

    parser = stage(crate, "write ro-crate-metadata.json: the results as a Provenance Run Crate")
    _folders(parser, positional=True)
    parser.add_argument("--out", type=Path, default=Path("results/crate"), help="the folder to write (results/crate)")


def _folders(parser, positional: bool = False) -> None:
    parser.add_argument(
        "results" if positional else "--results",
        type=Path,
        default=Path("results"),
        help="the folder of the results (results)",
        **({"nargs": "?"} if positional else {}),
    )
    parser.add_argument(
        "--prepared", type=Path, default=Path("data/prepared"), help="the prepared data (data/prepared)"
    )


def _configuration(parser) -> None:
    parser.add_argument("--configfile", type=Path, nargs="*", default=[], help="files laid over config.yaml")
    parser.add_argument("--scale", help="another scale than config.yaml's")


def verify(options) -> None:
    from robustloss.lineage.verify import verify

    found = verify(options.results, options.prepared)
    for sentence in found.unfinished:
        print(sentence)
    for sentence in found.problems:
        print(f"PROBLEM {sentence}")
    absent = f"; {found.absent} more were not pulled (`make pull` fetches them)" if found.absent else ""
    unpublished = f"; {found.unpublished} were not published" if found.unpublished else ""
    print(f"{found.records} records, {found.files} files of {found.bytes / 1e6:.1f} MB{absent}{unpublished}")
    if found.problems:
        raise Problem(f"{options.results} is not as it was written: {len(found.problems)} problem(s), named above")


def rests_on(options) -> None:
    from robustloss.lineage.rests_on import rests_on, sentences

    records = rests_on(options.results, options.paper, options.table, options.row, options.column)
    if options.json:
        print(json.dumps(records, indent=1))
    else:
        print(*(line for record in records for line in sentences(record)), sep="\n")


def why(options) -> None:
    from robustloss.lineage import planned
    from robustloss.lineage.why import why

    overrides = {"scale": options.scale} if options.scale else {}
    plan = planned.plan([Path("config.yaml"), *options.configfile], **overrides)
    print(*why(plan, stored.existing(options.results), options.prepared, options.target), sep="\n")


def unused(options) -> None:
    from robustloss.lineage import unused

    results, configured = stored.existing(options.results), [Path("config.yaml"), *options.configfile]
    folders = unused.unused(results, options.prepared, configured)
    sizes = [unused.size(folder) for folder in folders]
    for folder, size in zip(folders, sizes, strict=True):
        print(f"{size / 1e6:10.1f} MB  {folder}")
    if options.delete:
        unused.delete(folders)
    done = "removed" if options.delete else "unused; --delete removes them" if folders else "unused"
    print(f"{sum(sizes) / 1e6:10.1f} MB  in {len(folders)} folders, {done}")


def crate(options) -> None:
    from robustloss.lineage.crate import write_crate

    print(write_crate(options.results, options.prepared, options.out))
