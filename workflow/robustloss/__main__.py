"""`python -m robustloss STAGE ...`: each stage of the workflow as one command that a person can type."""

import argparse
import contextlib
import errno
import gc
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from robustloss import clock, gpus, locks
from robustloss.code import nearest
from robustloss.errors import Problem
from robustloss.files import read_json
from robustloss.lineage import commands as lineage
from robustloss.lineage.stored import RECORDS
from robustloss.publishing import commands as publishing
from robustloss.publishing import named

# What torch's launcher tells each process of a training; the command that started the launcher holds what they need.
MEMBER = "LOCAL_RANK"


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; a problem that the user can mend is one sentence on stderr and exit status 1."""
    options = _parser().parse_args(arguments)
    try:
        if "run" in options:
            named.refuse_absent(options.run)
        _check_spec(options)
        with _alone(options) as wanted, _gpu(options):
            if wanted:
                options.stage(options)
        sys.stdout.flush()
    except Problem as problem:
        print(f"robustloss: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads the answer has read enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
            raise
        print(f"robustloss: {_storage_sentence(error)}", file=sys.stderr)
        return 1
    return 0


# What the specification of a stage is not without.
NEEDED = {
    "simulate": ("name",),
    "extract": ("image_size",),
    "assemble": ("splits",),
    "prepare": ("name",),
    "train": ("data", "model", "objective", "schedule", "epochs", "batch_size", "optimizer", "precision", "seed"),
    "attack": ("name", "split"),
    "audit": ("split", "epsilon"),
    "measure": ("name", "split", "count"),
}


def _check_spec(options) -> None:
    stage = options.stage.__name__
    for key in NEEDED.get(stage, ()):
        if key not in options.spec:
            raise Problem(f"{stage}: the specification has no '{key}': name it, as `snakemake -n -p` does for a job")


@contextlib.contextmanager
def _alone(options):
    """Be the only job with this output, and yield whether it is still wanted once another one has made way."""
    if "out" not in options or MEMBER in os.environ:
        yield True
        return
    out = options.out / f"video{options.video:02d}" if isinstance(getattr(options, "video", None), int) else options.out
    with locks.alone(out) as waited:
        yield not (waited and any((out / record).is_file() for record in RECORDS.values()))
        clock.no_later_than_now(clock.read_by(options))


def _gpu(options):
    """Hold a GPU of the machine; a training in several processes has those that it is given."""
    several = MEMBER in os.environ or getattr(options, "processes", 1) > 1
    return contextlib.nullcontext() if several else gpus.one(getattr(options, "device", "cpu"))


def _storage_sentence(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else " a file"
    cures = {
        errno.EROFS: "make that folder writable",
        errno.EACCES: "make that folder writable",
    }
    cure = cures.get(error.errno, "free some space")
    return f"cannot write{where}: {os.strerror(error.errno)}; {cure} and start again, nothing that was finished is lost"


def simulate(options) -> None:
    from robustloss.data import cholec80_sim

    cholec80_sim.simulate(options.spec, options.video, options.out)


def extract(options) -> None:
    from robustloss.data import cholec80

    name = cholec80.video_name(options.video)
    images, index = options.out / f"{name}.npy", options.out / f"{name}.csv"
    cholec80.extract(name, options.raw, options.spec["image_size"], images, index)


def assemble(options) -> None:
    from robustloss.data import cholec80

    def part(video: int) -> tuple[Path, Path]:
        path = options.out / "videos" / cholec80.video_name(video)
        return path.with_suffix(".npy"), path.with_suffix(".csv")

    parts = {split: [part(video) for video in videos] for split, videos in options.spec["splits"].items()}
    cholec80.assemble(parts, options.out, options.spec)


def prepare(options) -> None:
    from importlib import import_module

    from robustloss.code import parameters, plugin

    module = plugin("data", options.spec["name"])
    parameters(module, "prepare")
    import_module(module).prepare(options.spec, options.out, options.raw, options.download)


def weights(options) -> None:
    from robustloss.data import download

    download.obtain(download.source("torchvision", options.out.name), options.out.parent, may_download=True)


def _data(directory: Path, *splits: str):
    """A prepared data set; every byte of `splits` is as written: a network would learn from a flipped one, too."""
    from robustloss.data import prepared

    return prepared.verify(directory, splits)


def train(options) -> None:
    from robustloss.training import train

    if options.processes > 1 and MEMBER not in os.environ:
        from robustloss.parallel import launch

        return launch(options.processes, sys.argv[1:])
    train(options.spec, _data(options.data, "train"), options.out, options.device, options.pretrained)


def features(options) -> None:
    from robustloss.data.prepared import SPLITS
    from robustloss.features import measure

    measure(options.run, _data(options.data, *SPLITS), options.out, options.device)


def attack(options) -> None:
    from robustloss.evaluation import attack

    attack(options.run, _data(options.data, options.spec["split"]), options.spec, options.out, options.device)


def audit(options) -> None:
    from robustloss.audit import audit

    audit(options.run, _data(options.data, options.spec["split"]), options.spec, options.out, options.device)


def measure(options) -> None:
    from importlib import import_module

    from robustloss.schemas import measures

    name = options.spec["name"]
    if name not in measures():
        raise Problem(f"measure: there is no '{name}'{nearest(name, measures())}")
    module = import_module(f"robustloss.{name}")
    module.measure(options.run, _data(options.data, options.spec["split"]), options.spec, options.out, options.device)


def count(options) -> None:
    from robustloss.counts import write_table

    write_table(options.spec, options.raw, options.reference, options.out)


def paper(options) -> None:
    from robustloss import papers
    from robustloss.lineage import collected
    from robustloss.provenance import Stopwatch

    watch = Stopwatch(collected.modules(read_json(options.manifest)["paper"]))
    papers.render(options.notebook, options.manifest, options.out)
    collected.write(watch, options.manifest, options.notebook)


def cost(options) -> None:
    from robustloss.config import read_yaml
    from robustloss.costs import table

    print(table.text(read_yaml(options.config)))


def summary(options) -> None:
    from robustloss import claims

    claims.write_summary(options.results, options.readme)


def report(options) -> None:
    from robustloss import report

    report.write(options.results, options.out)


def _spec(text: str) -> dict:
    """A specification: JSON, or the path of a file of it. What is wrong with it is told by argparse."""
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else read_json(text)
    except (Problem, json.JSONDecodeError, OSError) as error:
        raise argparse.ArgumentTypeError(f"{error}") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"{text} is not made of keys and values")
    return found


def _whole(text: str) -> int:
    """A number from the environment or the command line."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m robustloss", description=__doc__)
    stages = parser.add_subparsers(required=True, metavar="STAGE")

    def stage(function, help_text: str, *names: str) -> argparse.ArgumentParser:
        command = stages.add_parser(function.__name__.replace("_", "-"), help=help_text, description=help_text)
        for name in names:
            command.add_argument(f"--{name}", **_OPTIONS[name])
        command.set_defaults(stage=function)
        return command

    stage(simulate, "draw one clip of the simulated data set", "spec", "video", "out")
    stage(extract, "take one video's frames with a single tool", "spec", "video", "raw", "out")
    stage(assemble, "join the extracted videos into splits", "spec", "out")
    stage(prepare, "read an image data set into splits", "spec", "raw", "download", "out")
    stage(weights, "download pretrained weights", "out")
    stage(count, "count the frames of Table 1 from the annotations", "spec", "raw", "reference", "out")
    stage(train, "train one network", "spec", "data", "out", "device", "pretrained", "processes")
    stage(features, "measure a run on clean images", "run", "data", "out", "device")
    stage(attack, "attack a run", "run", "data", "spec", "out", "device")
    stage(audit, "look for signs of gradient masking in a run", "run", "data", "spec", "out", "device")
    stage(measure, "measure what a figure shows of a run", "run", "data", "spec", "out", "device")
    stage(paper, "render a paper's notebook", "notebook", "manifest", "out")
    stage(report, "write the pages of all papers and runs", "results", "out")
    stage(cost, "tell what each paper costs at each scale", "config")
    stage(summary, "write the readme's table of verdicts", "results", "readme")
    lineage.add(stage)
    publishing.add(stage)
    return parser


_OPTIONS = {
    "spec": {"type": _spec, "required": True, "help": "the specification: JSON, or the path of a JSON file"},
    "video": {"type": int, "required": True, "help": "the number of the video"},
    "raw": {"type": Path, "required": True, "help": "the folder of the raw data"},
    "data": {"type": Path, "required": True, "help": "the folder of the prepared data set"},
    "run": {"type": Path, "required": True, "help": "the folder of the trained run"},
    "out": {"type": Path, "required": True, "help": "where the results go"},
    "device": {"default": os.environ.get("ROBUSTLOSS_DEVICE", "auto"), "help": "auto, cpu or cuda"},
    "download": {"action": "store_true", "help": "download what is missing"},
    "processes": {
        "type": _whole,
        "default": os.environ.get("ROBUSTLOSS_PROCESSES", "1"),
        "help": "processes that share the training, each with a GPU of its own (1)",
    },
    "pretrained": {"type": Path, "nargs": "?", "help": "a file of ImageNet weights, or nothing"},
    "reference": {"type": Path, "required": True, "help": "the published numbers"},
    "config": {"type": Path, "default": Path("config.yaml"), "help": "the settings (config.yaml)"},
    "results": {"type": Path, "required": True, "help": "the folder of the results"},
    "readme": {"type": Path, "required": True, "help": "the file that has the table's markers"},
    "notebook": {"type": Path, "required": True, "help": "the notebook"},
    "manifest": {"type": Path, "required": True, "help": "which runs the paper rests on"},
}


def _leave(status: int) -> NoReturn:
    """End the process at once: taking down what torch has imported would be a fifth of a short job's time."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    # What imports make stays: to look at it after every 700 new objects, as is usual, is a twentieth of a short job.
    gc.set_threshold(10_000)
    _leave(main())
