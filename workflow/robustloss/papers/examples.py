"""One image of each class of a data set."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from robustloss import outcomes
from robustloss.data import prepared
from robustloss.errors import Problem
from robustloss.licences import FREE
from robustloss.papers import style
from robustloss.papers.collection import Collection

# Beside the manifest, of data that anybody may pass on: a clone has the results without the images of the data set.
KEPT = "examples.npz"


class Examples(NamedTuple):
    """One uint8 image (height, width, channels) of each class, the classes' names, and the data set's."""

    images: np.ndarray
    names: np.ndarray
    data: str


def figure(collection: Collection, data: str, split: str = "train") -> Figure:
    """The middle image of each class in `split` of the manifest's data set `data`."""
    folder = collection.root / collection.manifest["data"][data]
    path = collection.directory / KEPT
    try:
        found = _examples(prepared.load(folder), split)
    except Problem:
        if not path.is_file():
            return _nothing(folder.name)
        arrays = outcomes.load(path)
        found = Examples(arrays["images"], arrays["names"], str(arrays["data"]))
    if found.data in FREE:
        outcomes.save(path, {"images": found.images, "names": found.names, "data": np.array(found.data)})
    drawn = Figure(figsize=(1.35 * len(found.names), 1.9), layout="constrained")
    for index, (axis, name) in enumerate(zip(drawn.subplots(1, len(found.names)), found.names, strict=True)):
        image = found.images[index]
        axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        axis.set(title=f"{index + 1}: {name}", xticks=[], yticks=[])
    about = f"{found.data}, split {split}, {' × '.join(map(str, found.images.shape[1:3]))} pixels"
    style.footer(drawn, f"scale {collection.scale}  ·  {about}")
    return drawn


def _examples(found: prepared.Prepared, split: str) -> Examples:
    labels, images = found.labels(split), found.images(split)
    members = [np.flatnonzero(labels == index) for index in range(len(found.classes))]
    middle = np.stack([images[places[len(places) // 2]] for places in members])
    return Examples(middle, np.array(found.classes), found.record["data"]["name"])


def _nothing(name: str) -> Figure:
    drawn = Figure(figsize=(9.5, 1.9), layout="constrained")
    drawn.text(0.5, 0.55, **style.NOT_RUN | {"s": "the images are not here"}, fontsize=14)
    style.footer(drawn, f"{name} was not prepared on this machine, or may not be passed on")
    return drawn
