"""What a figure needs to know of one trained network: arrays and, last, a record that says how they were made.

A module `robustloss/<name>.py` with a function `measure(run, data, spec, directory, device)` is a measurement: `spec`
has its `name` and its own settings, `run` is the run's folder, and the files go into `directory`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from robustloss import checkpoints, devices, models, naming, outcomes
from robustloss.data.prepared import Prepared
from robustloss.errors import Problem
from robustloss.images import Images, spread
from robustloss.provenance import Stopwatch

ARRAYS = "arrays.npz"
RECORD = "measurement.json"


@dataclass(frozen=True)
class Subject:
    """A run's network after the last epoch that was kept, ready for evaluation, and the images it is measured on."""

    model: torch.nn.Module
    images: Images
    data: Prepared
    origin: dict
    watch: Stopwatch

    @property
    def index(self) -> np.ndarray:
        """The images' positions in their split (count,)."""
        return self.images.indices.cpu().numpy()

    def all(self) -> tuple[torch.Tensor, torch.Tensor]:
        """All images (count, channels, height, width) in [0, 1] and their labels (count,), on the device."""
        return self.images.batch(torch.arange(len(self.images), device=self.images.indices.device))

    def write(self, directory: Path, spec: dict, arrays: dict[str, np.ndarray], summary: dict) -> None:
        """Write arrays.npz, then measurement.json: the run, the classes, `spec`, `summary` and the environment."""
        outcomes.save(directory / ARRAYS, arrays)
        about = {
            "name": directory.name,
            **self.origin,
            "classes": self.data.classes,
            "spec": spec,
            "summary": summary,
        }
        self.watch.write(directory / RECORD, about, [directory / ARRAYS], self.images.device)


def subject(run: Path, data: Prepared, spec: dict, device: str, label: int | None = None) -> Subject:
    """The network of `run` after the last epoch kept and `count` images of `split`, of the class `label` if given.

    `spec` is the measurement's, with `name`, `split` and `count`. The images are spread evenly over all there are;
    fewer where there are fewer. Raises Problem where there is none.
    """
    split, count = spec["split"], spec["count"]
    record = checkpoints.open_run(run, data)
    watch = Stopwatch(naming.measurement_modules(spec, record["spec"]["model"]))
    where = devices.choose(device)
    labels = data.labels(split)
    available = np.arange(len(labels)) if label is None else np.flatnonzero(labels == label)
    if not len(available):
        raise Problem(f"{data.directory} has no image of class {label} in split {split}: name another class or split")
    chosen = available[spread(len(available), count or len(available)).numpy()]
    network = checkpoints.network(run, record, data, checkpoints.epochs(record)[-1])
    model = models.evaluation_copy(network, where)
    images = Images(data, split, where, torch.from_numpy(chosen))
    return Subject(model, images, data, checkpoints.origin(run, record), watch)
