"""Publishing as commands: `python -m robustloss publish`, `pull`, `agree`, `appendix`."""

from collections.abc import Callable
from pathlib import Path

from robustloss.lineage import stored


def add(stage: Callable) -> None:
    """Add the commands; `stage` makes the parser of one from its function and a sentence."""

    def command(function, help_text: str):
        parser = stage(function, help_text)
        parser.add_argument("--results", type=Path, default=Path("results"), help="the folder of the results (results)")
        return parser

    papers = {"nargs": "+", "metavar": "PAPER", "help": "such as chen2019; all papers if left out"}
    parser = command(publish, "add what is finished and new to DVC, push it, and print the lines for git")
    parser.add_argument("--papers", **papers)
    whose = "data sets, such as mnist, whose runs' bytes are published, or none; all if left out"
    parser.add_argument("--data", nargs="+", help=whose)
    parser.add_argument("--remote", help="where the bytes go, such as storage; the default remote if left out")

    private = "who reads the remote may have the data sets that are not passed on: they go along"
    parser.add_argument("--private", action="store_true", help=private)

    parser = command(pull, "fetch the weights, outcomes and data that papers rest on")
    parser.add_argument("--papers", **papers)

    command(agree, "compare what was made again with what was published")

    parser = command(appendix, "write the claims, their results and hours into the artifact appendix")
    parser.add_argument("--page", type=Path, default=Path("REPRODUCING.md"), help="the page (REPRODUCING.md)")


def publish(options) -> None:
    from robustloss.publishing.publication import publish

    publish(options.results, options.papers, options.data, options.remote, options.private)


def pull(options) -> None:
    from robustloss.publishing.fetching import pull

    pull(stored.existing(options.results), options.papers)


def agree(options) -> None:
    from robustloss.publishing import agreement

    agreement.write(stored.existing(options.results))


def appendix(options) -> None:
    from robustloss.publishing import claims_table

    claims_table.write(options.results, options.page)
