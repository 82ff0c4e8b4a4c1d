"""One image of each class of a data set."""

import numpy as np
from matplotlib.figure import Figure

from robustloss.data import prepared
from robustloss.errors import Problem
from robustloss.papers import style
from robustloss.papers.collection import Collection


def figure(collection: Collection, data: str, split: str = "train") -> Figure:
    """The middle image of each class in `split` of the manifest's data set `data`."""
    folder = collection.root / collection.manifest["data"][data]
    try:
        found = prepared.load(folder)
    except Problem:
        # A clone has the results without the images that they were made from.
        return _nothing(folder.name)
    labels, images = found.labels(split), found.images(split)
    drawn = Figure(figsize=(1.35 * len(found.classes), 1.9), layout="constrained")
    for index, (axis, name) in enumerate(zip(drawn.subplots(1, len(found.classes)), found.classes, strict=True)):
        members = np.flatnonzero(labels == index)
        image = images[members[len(members) // 2]]
        axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        axis.set(title=f"{index + 1}: {name}", xticks=[], yticks=[])
    about = f"{found.record['data']['name']}, split {split}, {' × '.join(map(str, found.image_shape[:2]))} pixels"
    style.footer(drawn, f"scale {collection.scale}  ·  {about}")
    return drawn


def _nothing(name: str) -> Figure:
    drawn = Figure(figsize=(9.5, 1.9), layout="constrained")
    style.not_run(drawn)
    style.footer(drawn, f"The images of {name} are not here.")
    return drawn
