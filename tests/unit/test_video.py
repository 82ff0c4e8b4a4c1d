"""Every frame of the test clips shows its own number, so that a wrong frame is seen without trusting any decoder."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from robustloss.data import video
from robustloss.data.video import decode_all, decode_groups, read_frames, shrink
from robustloss.errors import Problem

WIDTH, HEIGHT, COUNT = 160, 96, 300
BITS = 10
ENCODINGS = {
    "distance-250": {"g": "250"},
    "distance-25": {"g": "25"},
    "no-b-frames": {"g": "50", "bf": "0"},
    "b-pyramid": {"g": "60", "x264-params": "bframes=5:b-adapt=0:b-pyramid=normal:ref=4"},
    "open-groups": {"x264-params": "open-gop=1:keyint=20:min-keyint=20:scenecut=0:bframes=3:b-adapt=0"},
    "intra-refresh": {"x264-params": "intra-refresh=1:keyint=40"},
    "repeated-parameters": {"x264-params": "repeat-headers=1:aud=1:keyint=30"},
    "slices": {"g": "30", "x264-params": "slices=4"},
    "interlaced": {"g": "40", "x264-params": "tff=1"},
}
WANTED = {
    "every-second": range(0, COUNT, 25),
    "sparse": [3, 4, 171, 260],
    "behind-key-frames": [19, 21, 99, 251, 299],
    "dense": range(COUNT),
}


def paint(number: int) -> np.ndarray:
    """Grey RGB texture that moves by `number` pixels, above it the bits of `number` as black and white squares."""
    x, y = np.meshgrid(np.arange(WIDTH) + 3 * number, np.arange(HEIGHT) + number)
    picture = 128 + 60 * np.sin(x / 7) * np.cos(y / 5) + np.random.default_rng(number).normal(0, 8, (HEIGHT, WIDTH))
    for bit in range(BITS):
        picture[:16, 16 * bit : 16 * bit + 16] = 255 * (number >> bit & 1)
    return np.repeat(picture.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def painted_number(frame: av.VideoFrame) -> int:
    luma = frame.to_ndarray()[:16, : 16 * BITS]
    bits = luma.reshape(16, BITS, 16).mean(axis=(0, 2)) > 128
    return int((bits << np.arange(BITS)).sum())


def encode(path, options=None, codec="libx264", rate=25, count=COUNT, pts=lambda number: number, container=None):
    with av.open(str(path), "w", options=container or {}) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = ({"preset": "veryfast", "crf": "28"} if codec == "libx264" else {}) | (options or {})
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(paint(number), format="rgb24")
            frame.pts = pts(number)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def packets(path) -> list[av.Packet]:
    with av.open(str(path)) as source:
        return [packet for packet in source.demux(video=0) if packet.size]


def overwrite(path: Path, packet: av.Packet, start: int) -> None:
    """Destroy a packet from its byte `start` on."""
    content = bytearray(path.read_bytes())
    content[packet.pos + start : packet.pos + packet.size] = b"\xa5" * (packet.size - start)
    path.write_bytes(content)


def pixels(frames) -> list[tuple[int, bytes]]:
    return [(number, frame.to_ndarray().tobytes()) for number, frame in frames]


@pytest.fixture(scope="module", params=ENCODINGS)
def clip(request, tmp_path_factory):
    return encode(tmp_path_factory.mktemp("clips") / f"{request.param}.mp4", ENCODINGS[request.param])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Key frames every 50 frames, 3 B-frames between references."""
    options = {"x264-params": "keyint=50:min-keyint=50:scenecut=0:bframes=3:b-adapt=0:b-pyramid=none"}
    return encode(tmp_path_factory.mktemp("plain") / "plain.mp4", options, container={"movflags": "faststart"})


def test_skipping_packets_gives_the_bits_of_decoding_everything(clip):
    with av.open(str(clip)) as source:
        everything = list(source.decode(video=0))
    assert [painted_number(frame) for frame in everything] == list(range(COUNT))
    everything = pixels(enumerate(everything))
    for wanted in WANTED.values():
        assert pixels(decode_groups(clip, list(wanted))) == [everything[number] for number in wanted]


def test_two_threads_give_the_same_bits(plain):
    wanted = WANTED["behind-key-frames"]
    assert pixels(decode_groups(plain, wanted, threads=2)) == pixels(decode_all(plain, wanted))


def test_no_frames_wanted_gives_none(plain):
    assert list(read_frames(plain, [])) == []


def test_unneeded_packets_are_not_decoded(plain, tmp_path):
    """Frame 108 builds on frames 100 and 104; the B-frames before it and all that follows it are not needed."""
    path = Path(shutil.copy(plain, tmp_path))
    needed = {100, 104, 108}
    for packet in packets(path):
        if round(packet.pts * packet.time_base * 25) not in needed:
            overwrite(path, packet, packet.size // 2)
    with pytest.raises(Problem):
        list(decode_all(path, [108]))
    assert pixels(decode_groups(path, [108])) == pixels(decode_all(plain, [108]))


def test_starting_late_counts_from_the_first_frame_shown(tmp_path):
    path = encode(tmp_path / "late.mp4", {"g": "25"}, count=60, pts=lambda number: number + 37)
    assert packets(path)[0].pts > 0
    assert [painted_number(frame) for _, frame in decode_groups(path, [0, 25, 50])] == [0, 25, 50]


def test_frames_hidden_by_an_edit_list_are_not_counted(tmp_path):
    whole = encode(tmp_path / "whole.mp4", {"g": "250", "bf": "0"}, count=60)
    with av.open(str(whole)) as source, av.open(str(tmp_path / "cut.mp4"), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                shift = round(10 / 25 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                output.mux(packet)
    assert packets(tmp_path / "cut.mp4")[0].is_discard
    for wanted in ([0, 25], [25]):
        found = [painted_number(frame) for _, frame in read_frames(tmp_path / "cut.mp4", wanted)]
        assert found == [number + 10 for number in wanted]


@pytest.mark.parametrize(
    ("name", "codec"), [("other.mp4", "mpeg4"), ("annex-b.ts", "libx264"), ("bare.h264", "libx264")]
)
def test_what_is_not_h264_in_mp4_is_decoded_in_sequence(tmp_path, name, codec):
    path = encode(tmp_path / name, codec=codec, count=80)
    with pytest.raises(video.Unusual):
        list(decode_groups(path, [25]))
    assert [painted_number(frame) for _, frame in read_frames(path, [0, 25, 26, 75])] == [0, 25, 26, 75]


def test_parameters_that_change_in_a_skipped_group_are_not_lost(tmp_path):
    """The second clip's key frames need its own base quantiser, which only the first of them is left to carry."""
    groups = "cabac=0:repeat-headers=1:keyint=50:min-keyint=50:scenecut=0"
    first = encode(tmp_path / "first.mp4", {"x264-params": groups}, count=50)
    second = encode(tmp_path / "second.mp4", {"x264-params": groups, "crf": "40"}, count=100)
    path = tmp_path / "joined.mp4"
    with av.open(str(first)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        joined = packets(first) + packets(second)
        for position, packet in enumerate(joined):
            shift = round(2 / packet.time_base) if position >= 50 else 0
            units = [bytes(unit) for unit in video._units(memoryview(packet), 4)]
            kept = [unit for unit in units if position != 100 or unit[0] & 31 not in (7, 8)]
            copy = av.Packet(b"".join(len(unit).to_bytes(4) + unit for unit in kept))
            copy.pts, copy.dts, copy.time_base = packet.pts + shift, packet.dts + shift, packet.time_base
            copy.is_keyframe, copy.stream = packet.is_keyframe, stream
            output.mux(copy)
    assert pixels(read_frames(path, [110])) == pixels(decode_all(path, [110]))
    assert [painted_number(frame) for _, frame in read_frames(path, [25, 110])] == [25, 60]


def test_groups_too_long_to_hold_are_decoded_in_sequence_from_where_skipping_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "LONGEST_GROUP", 100)
    path = encode(tmp_path / "clip.mp4", {"x264-params": "keyint=infinite:scenecut=0", "forced-idr": "1"}, count=150)
    with pytest.raises(video.Unusual):
        list(decode_groups(path, [25]))
    assert [painted_number(frame) for _, frame in read_frames(path, [25, 149])] == [25, 149]


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize(("rate", "pts"), [(30, lambda number: number), (25, lambda number: number + number // 40)])
def test_other_or_varying_frame_rates_are_refused(tmp_path, codec, rate, pts):
    path = encode(tmp_path / "clip.mp4", codec=codec, rate=rate, count=60, pts=pts)
    with pytest.raises(Problem, match=r"clip\.mp4 does not run at constant 25 frames per second \(frame (3|40) comes"):
        list(read_frames(path, [0, 25, 50]))


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_wanted_frames_beyond_the_end_are_counted_and_refused(tmp_path, codec):
    path = encode(tmp_path / "clip.mp4", codec=codec, count=60)
    with pytest.raises(
        Problem, match=r"60 frames and ends in second 2\.40, but 2 wanted .* from frame 75 \(second 3\)"
    ):
        list(read_frames(path, [0, 50, 75, 100]))


def test_cut_off_videos_are_refused_where_frames_are_missing(plain, tmp_path):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(plain.read_bytes()[: packets(plain)[120].pos + 5])
    assert [painted_number(frame) for _, frame in read_frames(cut, [0, 50])] == [0, 50]
    with pytest.raises(Problem, match=r"cut\.mp4 is damaged or cut off \(.*120 of 300"):
        list(read_frames(cut, [0, 50, 150]))


@pytest.mark.parametrize("content", [b"", b"not a video\n" * 50])
def test_what_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "video01.mp4"
    path.write_bytes(content)
    with pytest.raises(Problem, match=r"video01\.mp4 cannot be opened as a video"):
        list(read_frames(path, [0]))


def test_a_video_cut_off_before_its_index_is_refused(tmp_path):
    path = encode(tmp_path / "video01.mp4", count=30)
    path.write_bytes(path.read_bytes()[: packets(path)[20].pos])
    with pytest.raises(Problem, match=r"video01\.mp4 cannot be opened as a video"):
        list(read_frames(path, [0]))


def test_sound_without_pictures_is_refused(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        output.mux([*stream.encode(frame), *stream.encode()])
    with pytest.raises(Problem, match=r"sound\.mp4 holds no video"):
        list(read_frames(path, [0]))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Problem, match=r"video01\.mp4 cannot be opened"):
        list(read_frames(tmp_path / "video01.mp4", [0]))


def test_a_damaged_picture_is_refused_for_all_frames_that_build_on_it(plain, tmp_path):
    path = Path(shutil.copy(plain, tmp_path))
    overwrite(path, next(packet for packet in packets(path) if round(packet.pts * packet.time_base * 25) == 104), 16)
    assert [painted_number(frame) for _, frame in read_frames(path, [25, 100])] == [25, 100]
    with pytest.raises(Problem, match=r"plain\.mp4 is damaged or cut off"):
        list(read_frames(path, [100, 125, 150]))
    for decode in (read_frames, decode_all):
        assert [painted_number(frame) for _, frame in decode(path, [150])] == [150]


def test_shrinking_a_flat_frame_keeps_its_colour():
    frame = av.VideoFrame.from_ndarray(np.full((96, 160, 3), (200, 30, 90), np.uint8), format="rgb24")
    expected = np.broadcast_to(np.array([200, 30, 90]), (24, 24, 3))
    np.testing.assert_allclose(shrink(frame, 24), expected, atol=1)
    yuv = frame.reformat(format="yuv420p")
    np.testing.assert_allclose(shrink(yuv, 24), expected, atol=2)


def test_shrinking_agrees_with_pillow_and_averages_what_is_too_fine():
    x, y = np.meshgrid(np.arange(320), np.arange(240))
    smooth = np.stack([128 + 100 * np.sin(x / 23), 128 + 100 * np.cos(y / 31), 128 + 90 * np.sin((x + y) / 40)], axis=2)
    picture = smooth.round().astype(np.uint8)
    expected = np.asarray(Image.fromarray(picture).resize((64, 64), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(shrink(av.VideoFrame.from_ndarray(picture, format="rgb24"), 64), expected, atol=4)
    stripes = np.repeat(np.where(x % 2, 255, 0).astype(np.uint8)[:, :, None], 3, axis=2)
    np.testing.assert_allclose(shrink(av.VideoFrame.from_ndarray(stripes, format="rgb24"), 64)[:, 2:-2], 127.5, atol=3)
