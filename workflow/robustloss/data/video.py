"""Chosen frames of a video, exact to the frame, at the cost of decoding only what they depend on.

In H.264 a picture depends on earlier pictures of its own group, which starts at an IDR picture, and never on one that
is marked as no reference. So a group without a wanted frame is not decoded at all, a group with one only up to its last
wanted frame, and of these without the no-reference pictures that nobody asked for. What comes out is bit-identical to
decoding everything; where that is not certain, everything is decoded. Speed: tests/benchmarks/extraction.py.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation

from robustloss.errors import Problem

FRAMES_PER_SECOND = 25
LONGEST_GROUP = 3000  # packets held at once: a stream of longer groups would not gain from skipping, only fill memory

# The first byte of a unit in H.264, 7.3.1 and Table 7-1
SLICE_UNITS = range(1, 6)
IDR_UNIT = 5
PARAMETER_UNITS = (7, 8)
REFERENCE_BITS = 0x60

# On real frames enlarged to 854 x 480 this comes within 0.13 grey levels (mean; at most 6) of a float computation, as
# does converting to RGB and then resizing with Pillow, which takes over three times as long. Without the exact flags it
# is a whole level too dark.
BICUBIC_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)


class Unusual(Exception):
    """What this stream's pictures depend on is not certain: all of it has to be decoded."""


def read_frames(path: str | Path, numbers: Iterable[int], threads: int = 1) -> Iterator[tuple[int, av.VideoFrame]]:
    """Yield (number, decoded frame) for the increasing frame `numbers`; frame 0 is the first that is shown.

    Frames are counted in the order of presentation, and their time stamps must agree with 25 frames per second.
    One thread decodes unless told otherwise: one process per video uses a machine better than threads within one.
    Raises Problem if the file is no video, is damaged or cut off where it is needed, does not run at constant 25
    frames per second, or ends before the last wanted frame.
    """
    path, numbers, done = Path(path), [int(number) for number in numbers], 0
    with contextlib.suppress(Unusual):
        for number, frame in decode_groups(path, numbers, threads):
            done += 1
            yield number, frame
    yield from decode_all(path, numbers[done:], threads)


def shrink(frame: av.VideoFrame, size: int) -> np.ndarray:
    """Resize a frame to uint8 (size, size, 3) RGB, antialiased, without keeping its aspect ratio.

    The colour matrix and range are those the frame declares, else BT.601 and limited range.
    """
    return frame.reformat(size, size, "rgb24", interpolation=BICUBIC_EXACT, threads=1).to_ndarray()


def decode_all(path: Path, numbers: Sequence[int], threads: int = 1) -> Iterator[tuple[int, av.VideoFrame]]:
    """`read_frames` by decoding everything up to the last wanted frame: any codec, any structure."""
    if not numbers:
        return
    wanted = set(numbers)
    with _open(path, threads) as stream:
        counter = _Counter(path, stream)
        damaged = False
        for frame in _decoded(path, stream):
            number = counter.count(frame.pts)
            damaged = frame.is_corrupt or (damaged and not frame.key_frame)
            if number in wanted:
                if damaged:
                    raise _damaged(path, f"frame {number} or one that it builds on is incomplete")
                yield number, frame
            if number == numbers[-1]:
                return
        raise counter.too_short(numbers)


def decode_groups(path: Path, numbers: Sequence[int], threads: int = 1) -> Iterator[tuple[int, av.VideoFrame]]:
    """`read_frames` by decoding only packets that a wanted frame needs; raises Unusual where that is not certain."""
    if not numbers:
        return
    wanted = set(numbers)
    with _open(path, threads) as stream:
        counter = _Counter(path, stream)
        latest = None
        for group in _groups(path, stream):
            shown = sorted(packet.pts for packet, _ in group)
            if shown[0] != group[0][0].pts or (latest is not None and shown[0] <= latest):
                raise Unusual
            latest = shown[-1]
            chosen = {pts: number for pts in shown if (number := counter.count(pts)) in wanted}
            if chosen:
                yield from _decode_group(stream.codec_context, group, chosen)
            if counter.counted > numbers[-1]:
                return
        raise counter.too_short(numbers)


def _decode_group(decoder, group: list[tuple[av.Packet, bool]], chosen: dict[int, int]) -> Iterator[tuple]:
    """Decode the pictures of one group whose time stamps are `chosen`, in the order of presentation."""
    last = max(position for position, (packet, _) in enumerate(group) if packet.pts in chosen)
    needed = [packet for packet, is_reference in group[: last + 1] if is_reference or packet.pts in chosen]
    found = []
    try:
        for packet in (*needed, None):  # None drains the decoder
            for frame in decoder.decode(packet):
                if frame.is_corrupt:
                    raise Unusual
                if frame.pts in chosen:
                    found.append((chosen[frame.pts], frame))
    except av.FFmpegError:
        raise Unusual from None
    decoder.flush_buffers()
    if [number for number, _ in found] != list(chosen.values()):
        raise Unusual
    yield from found


def _groups(path: Path, stream) -> Iterator[list[tuple[av.Packet, bool]]]:
    """Yield the packets from one IDR picture up to the next, each with whether other pictures may refer to it."""
    length_bytes = _length_bytes(stream.codec_context)
    group, first_parameters = [], None
    for packet in _packets(path, stream):
        units = list(_units(memoryview(packet), length_bytes))
        starts = any(_kind(unit) == IDR_UNIT for unit in units)
        parameters = [bytes(unit) for unit in units if _kind(unit) in PARAMETER_UNITS]
        if starts and first_parameters is None:
            first_parameters = parameters
        # Parameters that change would be lost with a skipped packet; an edit list hides the packets to be discarded.
        if parameters != (first_parameters if starts else []) or packet.has_sidedata("new_extradata"):
            raise Unusual
        if packet.pts is None or packet.is_discard:
            raise Unusual
        if starts:
            if group:
                yield group
            group = []
        elif not group or len(group) == LONGEST_GROUP:
            raise Unusual
        is_reference = any(unit[0] & REFERENCE_BITS for unit in units if _kind(unit) in SLICE_UNITS)
        group.append((packet, is_reference))
    if group:
        yield group


def _length_bytes(decoder) -> int:
    """The width of the length that precedes every unit in an MP4 file (ISO/IEC 14496-15, 5.3.3.1)."""
    if decoder.name != "h264" or not decoder.extradata or decoder.extradata[0] != 1:
        raise Unusual
    return (decoder.extradata[4] & 3) + 1


def _units(packet: memoryview, length_bytes: int) -> Iterator[memoryview]:
    start = 0
    while start < len(packet):
        length = int.from_bytes(packet[start : start + length_bytes])
        start += length_bytes
        if length == 0 or start + length > len(packet):
            raise Unusual
        yield packet[start : start + length]
        start += length


def _kind(unit: memoryview) -> int:
    return unit[0] & 31


class _Counter:
    """Counts frames in the order of presentation and holds every one against its time stamp."""

    def __init__(self, path: Path, stream):
        self.path = path
        self.rate = stream.average_rate
        self.frames_per_tick = float(stream.time_base * FRAMES_PER_SECOND)
        self.counted = 0
        self.start = None

    def count(self, pts: int | None) -> int:
        """The number of the frame that is shown next, at `pts` ticks (None where the file does not say)."""
        number = self.counted
        self.counted += 1
        if pts is not None:
            self.start = pts - number / self.frames_per_tick if self.start is None else self.start
            position = (pts - self.start) * self.frames_per_tick
            if abs(position - number) >= 0.5:
                raise Problem(
                    f"{self.path} does not run at constant {FRAMES_PER_SECOND} frames per second (frame {number} comes "
                    f"after {position / FRAMES_PER_SECOND:.2f} s, its header says {float(self.rate or 0):g}), "
                    "so seconds cannot be told: use the publisher's file, or give a folder of its extracted frames"
                )
        return number

    def too_short(self, numbers: Sequence[int]) -> Problem:
        """The Problem of a stream that ended before the last of the wanted `numbers`."""
        beyond = [number for number in numbers if number >= self.counted]
        return Problem(
            f"{self.path} has {self.counted} frames and ends in second {self.counted / FRAMES_PER_SECOND:.2f}, but "
            f"{len(beyond)} wanted frames lie beyond, from frame {beyond[0]} (second {beyond[0] // FRAMES_PER_SECOND}) "
            "on: the file is cut off or its annotation belongs to another video, get both again"
        )


@contextlib.contextmanager
def _open(path: Path, threads: int) -> Iterator:
    """The video stream of a file, ready to be demuxed and decoded."""
    try:
        container = av.open(str(path))
    except (av.FFmpegError, OSError) as error:
        raise Problem(f"{path} cannot be opened as a video ({error.strerror}): get it again") from None
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise Problem(f"{path} holds no video that can be decoded: get it again")
        stream.codec_context.thread_count = threads
        stream.codec_context.thread_type = "AUTO" if threads > 1 else "NONE"
        yield stream


def _packets(path: Path, stream) -> Iterator[av.Packet]:
    count = 0
    try:
        for packet in stream.container.demux(stream):
            if packet.is_corrupt:
                raise _damaged(path, f"it breaks off in packet {count} of {stream.frames}")
            if packet.size:
                yield packet
                count += 1
    except av.FFmpegError as error:
        raise _damaged(path, f"packet {count} of {stream.frames} cannot be read, {error.strerror}") from None


def _decoded(path: Path, stream) -> Iterator[av.VideoFrame]:
    """Every frame in the order of presentation."""
    count = 0
    try:
        for packet in itertools.chain(_packets(path, stream), [None]):
            for frame in stream.codec_context.decode(packet):
                yield frame
                count += 1
    except av.FFmpegError as error:
        raise _damaged(path, f"after frame {count - 1}: {error.strerror}") from None


def _damaged(path: Path, where: str) -> Problem:
    return Problem(f"{path} is damaged or cut off ({where}): get it again, or give a folder of its extracted frames")
