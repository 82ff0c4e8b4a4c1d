"""cholec80-sim: short clips drawn in place of Cholec80's videos, in its publisher's layout; nothing is downloaded.

Nothing here comes from the reader of the real files, so that a change of that reader does not ask for new clips.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np

from robustloss import files
from robustloss.data import scene
from robustloss.errors import Problem

TOOLS = ("Grasper", "Bipolar", "Hook", "Scissors", "Clipper", "Irrigator", "SpecimenBag")
TABLE1 = (23507, 3222, 44887, 1483, 2647, 2899, 1545)  # single-tool frames of Cholec80 (ding2025, Table 1)
SINGLE, PAIR = 70, 18  # per cent of the seconds that show one tool and two; the others show none
FLOOR = 2  # seconds that every tool is alone in every video
PARTNERS = (0.0, 0.06, 0.56, 0.06, 0.10, 0.10, 0.12)  # how often the grasper's companion is which tool
# The fastest preset; a keyframe every two seconds; nothing in the file that depends on the machine or the day.
X264 = {"preset": "ultrafast", "crf": "20", "g": "50", "threads": "1", "flags": "+bitexact"}


def simulate(spec: dict, video: int, raw: str | Path) -> None:
    """Write `raw`/videos/videoNN.mp4 (H.264, 25 frames per second) and `raw`/tool_annotations/videoNN-tool.txt.

    `spec`: `seed`, `seconds`, and even `width` and `height` in pixels; the rest of it is not looked at. The frames
    depend on these and `video` only, the file's bytes also on the build of x264. The annotation is written last.
    Raises Problem if the spec is unusable.
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

    SINGLE per cent of the seconds show one tool, in the numbers of `allocation`, PAIR per cent the grasper and another
    one, and the others none. Raises Problem if the video is too short to hold every tool.
    """
    single, pair = SINGLE * spec["seconds"] // 100, PAIR * spec["seconds"] // 100
    if single < FLOOR * len(TOOLS):
        raise Problem(
            f"{spec['name']}: {spec['seconds']} seconds are too few to show every tool alone for {FLOOR} seconds: "
            f"set seconds to {math.ceil(100 * FLOOR * len(TOOLS) / SINGLE)} or more"
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
    """Cut `seconds` into episodes of `least` to `most` seconds, or one more where a single second would be left."""
    parts = []
    while seconds > 0:
        length = min(int(rng.integers(least, most + 1)), seconds)
        length += seconds - length == 1
        parts.append(length)
        seconds -= length
    return parts


def allocation(video: int, seconds: int) -> np.ndarray:
    """The seconds in which each tool is alone in a video, int64 (7,), summing to `seconds`, as frequent as in Table 1.

    Every tool gets FLOOR seconds in every video, the rest goes by largest remainder, and what a tool lacks is carried
    to the next video: the counts of consecutive videos, hence of a split, are within two seconds of their due. FLOOR
    lifts tools that are due less, at the others' expense: in videos of 120 seconds (84 with one tool) scissors from 1.8
    to 2.4 % and the bag from 1.9 to 2.4 %, while the hook falls from 56.0 to 55.4 %; from 156 seconds on, none.
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
