"""Publishing as commands: `python -m robustloss publish`, `pull`, `agree`, `appendix`."""

from pathlib import Path

from robustloss import publishing


def add(parsers) -> None:
    """Add the commands to those of the stages."""

    def command(function, help_text: str):
        parser = parsers.add_parser(function.__name__, help=help_text, description=help_text)
        parser.add_argument("--results", type=Path, default=Path("results"), help="the folder of the results (results)")
        parser.set_defaults(stage=function)
        return parser

    papers = {"nargs": "+", "metavar": "PAPER", "help": "such as chen2019; all papers if left out"}
    parser = command(publish, "add what is finished and new to DVC, push it, and print the lines for git")
    parser.add_argument("--papers", **papers)
    parser.add_argument("--data", nargs="+", help="data sets, such as mnist, whose runs' bytes are published; or all")
    parser.add_argument("--remote", help="where the bytes go, such as storage; the default remote if left out")

    private = "who reads the remote may have the data sets that are not passed on: they go along"
    parser.add_argument("--private", action="store_true", help=private)

    parser = command(pull, "fetch the weights, outcomes and data that papers rest on")
    parser.add_argument("--papers", **papers)

    command(agree, "compare what was made again with what was published")

    parser = command(appendix, "write the claims, their results and hours into the artifact appendix")
    parser.add_argument("--page", type=Path, default=Path("REPRODUCING.md"), help="the page (REPRODUCING.md)")


def publish(options) -> None:
    publishing.publish(options.results, options.papers, options.data, options.remote, options.private)


def pull(options) -> None:
    publishing.pull(options.results, options.papers)


def agree(options) -> None:
    publishing.agree(options.results)


def appendix(options) -> None:
    publishing.appendix(options.results, options.page)
