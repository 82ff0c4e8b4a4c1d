"""cholec80-sim: short clips drawn in place of Cholec80's videos, in its publisher's layout, for runs without a download."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from robustloss import files
from robustloss.data import scene
from robustloss.errors import Problem

TOOLS = ("Grasper", "Bipolar", "Hook", "Scissors", "Clipper", "Irrigator", "SpecimenBag")
TABLE1 = (23507, 3222, 44887, 1483, 2647, 2899, 1545)  # single-tool frames of Cholec80 (ding2025, Table 1)
SINGLE, PAIR = 0.70, 0.18  # shares of the seconds that show one tool and two; the others show none
FLOOR = 2  # seconds that every tool is alone in every video
PARTNERS = (0.0, 0.06, 0.56, 0.06, 0.10, 0.10, 0.12)  # how often the grasper's companion is which tool
X264 = {"preset": "ultrafast", "crf": "20", "g": "50", "threads": "1", "flags": "+bitexact"}


def simulate(spec: dict, video: int, raw: str | Path) -> None:
    """Write `raw`/videos/videoNN.mp4 (H.264, 25 frames per second) and `raw`/tool_annotations/videoNN-tool.txt.

    `spec`: `seed`, `seconds`, and even `width` and `height` in pixels. Drawing depends on nothing but these and `video`;
    the file's bytes also on the version of x264. The annotation is written last. Raises Problem on an unusable spec.
    """
    annotation = script(spec, video)
    if spec["width"] % 2 or spec["height"] % 2:
        raise Problem(f"{spec['name']}: width {spec['width']} and height {spec['height']} must be even for 4:2:0 video")
    raw, name = Path(raw), f"video{video:02d}"
    blocks = scene.film([spec["seed"], video], annotation, spec["height"], spec["width"])
    encode(raw / "videos" / f"{name}.mp4", blocks, spec["height"], spec["width"])
    with files.replacing(raw / "tool_annotations" / f"{name}-tool.txt") as stream:
        stream.write("\t".join(("Frame", *TOOLS)) + "\n")
        for second, row in enumerate(annotation):
            stream.write("\t".join(map(str, (scene.RATE * second, *row))) + "\n")


def encode(path: Path, blocks: Iterable[np.ndarray], height: int, width: int) -> None:
    """Write blocks of frames (count, height, width, 3) uint8 as an H.264 mp4 at 25 frames per second."""
    with (
        files.replacing(path, "wb") as stream,
        av.open(stream, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container,
    ):
        track = container.add_stream("libx264", rate=scene.RATE, options=X264)
        track.height, track.width, track.pix_fmt = height, width, "yuv420p"
        for block in blocks:
            for image in block:
                container.mux(track.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(track.encode(None))


def script(spec: dict, video: int) -> np.ndarray:
    """The annotation of one video, uint8 (seconds, 7): coherent episodes in random order.

    About 70 % of the seconds show a single tool, 18 % the grasper and another one, the others none; see `allocation` for
    the classes. Raises Problem if the video is too short to hold every tool.
    """
    single = round(SINGLE * spec["seconds"])
    pair = round(PAIR * spec["seconds"])
    if single < FLOOR * len(TOOLS):
        raise Problem(
            f"{spec['name']}: {spec['seconds']} seconds are too few to show every tool alone for {FLOOR} seconds: "
            f"set seconds to {int(FLOOR * len(TOOLS) / SINGLE) + 1} or more"
        )
    rng = np.random.default_rng([spec["seed"], video])
    alone = np.eye(len(TOOLS), dtype=np.uint8)
    episodes = [
        [alone[tool]] * length
        for tool, seconds in enumerate(allocation(video, single))
        for length in lengths(rng, int(seconds), 2, 6)
    ]
    for length in lengths(rng, pair, 2, 5):
        partner = rng.choice(len(TOOLS), p=PARTNERS)
        hosts = [episode for episode in episodes if np.array_equal(episode[0], alone[partner])]
        hosts[rng.integers(len(hosts))].extend([alone[0] | alone[partner]] * length)
    episodes += [[0 * alone[0]] * length for length in lengths(rng, spec["seconds"] - single - pair, 1, 4)]
    rng.shuffle(episodes)
    return np.concatenate(episodes)


def lengths(rng: np.random.Generator, seconds: int, least: int, most: int) -> list[int]:
    """Cut a number of seconds into episodes of `least` to `most` seconds; the last may be shorter or, by one, longer."""
    parts = []
    while seconds > 0:
        length = min(int(rng.integers(least, most + 1)), seconds)
        length += seconds - length == 1
        parts.append(length)
        seconds -= length
    return parts


def allocation(video: int, seconds: int) -> np.ndarray:
    """Seconds in which each tool is alone in video 1, 2, 3 ..., summing to `seconds`, in the proportions of Table 1.

    Every tool first gets FLOOR seconds in every video, which lifts a class whose share is less at the expense of the others
    (at 105 seconds, scissors from 1.9 % to 1.9 % ...). The rest goes by largest remainder, and what a class lacks
    is carried to the next video, so that the counts of any run of videos, hence of every split, are within two seconds.
    """
    wanted = np.maximum(np.array(TABLE1) / sum(TABLE1) * seconds - FLOOR, 0)
    rest = seconds - FLOOR * len(TOOLS)
    owed = np.zeros(len(TOOLS))
    for _ in range(video):
        owed += wanted * (rest / wanted.sum())
        given = np.full(len(TOOLS), FLOOR)
        for _ in range(rest):
            tool = owed.argmax()
            owed[tool] -= 1
            given[tool] += 1
    return given
