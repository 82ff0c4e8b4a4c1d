"""The simulated clips against the publisher's layout, ding2025's Table 1 and an independent decoder."""

import hashlib
from itertools import combinations, pairwise

import av
import numpy as np
import pytest

from robustloss.data import cholec80, cholec80_sim, instruments, scene
from robustloss.errors import Problem

TABLE1 = np.array([23507, 3222, 44887, 1483, 2647, 2899, 1545]) / 80190
SPEC = {"name": "cholec80-sim", "seed": 0, "seconds": 30, "width": 64, "height": 36}
HEADER = b"Frame\tGrasper\tBipolar\tHook\tScissors\tClipper\tIrrigator\tSpecimenBag\n"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    cholec80_sim.simulate(SPEC, 1, folder)
    return folder


def single_counts(spec, videos):
    rows = np.concatenate([cholec80_sim.script(spec, video) for video in videos])
    return rows[rows.sum(1) == 1].sum(0)


def first_frames(annotation, seed=(0, 1)):
    return np.stack([block[0] for block in scene.film(list(seed), annotation, 36, 64)]).astype(int)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_clip_is_h264_with_25_frames_for_every_second(raw):
    with av.open(str(raw / "videos/video01.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == 25
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.width, stream.height) == (64, 36)
        times = [frame.time for frame in container.decode(stream)]
    np.testing.assert_allclose(times, np.arange(25 * 30) / 25, atol=1e-9)


def test_keyframes_stand_two_seconds_apart_at_most(raw):
    with av.open(str(raw / "videos/video01.mp4")) as container:
        keys = [frame for frame, packet in enumerate(p for p in container.demux() if p.size) if packet.is_keyframe]
    assert keys[0] == 0
    assert max(b - a for a, b in pairwise([*keys, 750])) <= 50


def test_decoded_frames_are_the_drawn_ones(raw):
    drawn = np.concatenate(list(scene.film([0, 1], cholec80_sim.script(SPEC, 1), 36, 64)))
    with av.open(str(raw / "videos/video01.mp4")) as container:
        decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    differences = np.abs(drawn.astype(int) - decoded).mean((1, 2, 3))
    neighbours = np.abs(drawn[:-25].astype(int) - decoded[25:]).mean((1, 2, 3))
    assert differences.max() < 12
    assert differences.mean() < 0.5 * neighbours.mean()


def test_annotation_has_the_publishers_layout(raw):
    lines = (raw / "tool_annotations/video01-tool.txt").read_bytes().splitlines(keepends=True)
    rows = cholec80_sim.script(SPEC, 1)
    assert lines[0] == HEADER
    assert lines[1:] == [
        b"\t".join(b"%d" % value for value in (25 * second, *row)) + b"\n" for second, row in enumerate(rows)
    ]


def test_annotation_is_read_back_by_the_reader_of_the_real_files(raw):
    annotation = cholec80.read_annotation(raw / "tool_annotations/video01-tool.txt")
    assert annotation.seconds.tolist() == list(range(30))
    np.testing.assert_array_equal(annotation.tools, cholec80_sim.script(SPEC, 1).astype(bool))


def test_nothing_but_the_two_files_is_left(raw):
    files = sorted(str(path.relative_to(raw)) for path in raw.rglob("*") if path.is_file())
    assert files == ["tool_annotations/video01-tool.txt", "videos/video01.mp4"]


def test_same_seed_gives_the_same_bytes(raw, tmp_path):
    cholec80_sim.simulate(SPEC, 1, tmp_path)
    for name in ("videos/video01.mp4", "tool_annotations/video01-tool.txt"):
        assert sha256(raw / name) == sha256(tmp_path / name)


@pytest.mark.parametrize(("spec", "video"), [(SPEC | {"seed": 1}, 1), (SPEC, 2)])
def test_another_seed_and_another_video_differ(raw, tmp_path, spec, video):
    cholec80_sim.simulate(spec, video, tmp_path)
    for name in ("videos/video{:02d}.mp4", "tool_annotations/video{:02d}-tool.txt"):
        assert sha256(raw / name.format(1)) != sha256(tmp_path / name.format(video))


def test_splits_and_image_size_do_not_change_the_film():
    spec = SPEC | {"image_size": 48, "splits": {"train": [1, 2], "test": [3], "evaluation": [3]}}
    np.testing.assert_array_equal(cholec80_sim.script(spec, 2), cholec80_sim.script(SPEC, 2))


@pytest.mark.parametrize("videos", [range(1, 9), range(9, 13), range(9, 11), range(1, 13)])
def test_single_tools_of_every_split_are_as_frequent_as_in_table_1(videos):
    counts = single_counts(SPEC | {"seconds": 180}, videos)
    assert counts.sum() == 126 * len(videos)
    assert np.abs(counts - TABLE1 * 126 * len(videos)).max() < 2


@pytest.mark.parametrize("seconds", [20, 30, 60, 120])
def test_every_video_shows_every_tool_alone(seconds):
    spec = SPEC | {"seconds": seconds}
    assert min(single_counts(spec, [video]).min() for video in range(1, 13)) >= 2


def test_floor_lifts_rare_tools_no_more_than_documented():
    shares = single_counts(SPEC | {"seconds": 120}, range(1, 13)) / (84 * 12)
    np.testing.assert_allclose(shares[[3, 6]], 2 / 84)
    assert np.abs(shares - TABLE1).max() < 0.007


def test_two_of_three_seconds_show_one_tool_and_some_none_or_two():
    rows = np.concatenate([cholec80_sim.script(SPEC | {"seconds": 100}, video) for video in range(1, 5)])
    assert np.bincount(rows.sum(1)).tolist() == [48, 280, 72]
    assert rows[rows.sum(1) == 2, 0].all()


def test_episodes_are_coherent():
    rows = cholec80_sim.script(SPEC | {"seconds": 300}, 1)
    changes = (np.diff(rows.astype(int), axis=0) != 0).any(1).sum()
    assert 300 / (changes + 1) > 2.5


def test_frame_of_a_second_shows_an_instrument_exactly_where_annotated():
    annotation = cholec80_sim.script(SPEC, 1)
    difference = np.abs(first_frames(annotation) - first_frames(0 * annotation)).max(-1)
    changed = (difference > 3).mean((1, 2))
    annotated = annotation.any(1)
    assert changed[annotated].min() > 0.01
    assert changed[~annotated].max() == 0


@pytest.mark.parametrize("tool", range(7))
def test_every_tool_is_drawn_in_its_own_seconds_only(tool):
    annotation = np.zeros((12, 7), np.uint8)
    annotation[[0, 3, 4, 5, 6, 7, 8, 11], tool] = 1
    changed = (first_frames(annotation) != first_frames(0 * annotation)).any((1, 2, 3))
    np.testing.assert_array_equal(changed, annotation[:, tool])


def test_two_tools_are_both_in_the_picture():
    both = np.zeros((4, 7), np.uint8)
    both[1:3, [0, 2]] = 1
    grasper, hook = (both * (np.arange(7) == tool) for tool in (0, 2))
    pictures = [first_frames(annotation)[1] for annotation in (both, grasper, hook)]
    assert all((a != b).any() for a, b in combinations(pictures, 2))


def test_instruments_leave_smoothly_between_seconds():
    annotation = np.zeros((3, 7), np.uint8)
    annotation[1, 2] = 1
    frames, empty = (np.concatenate(list(scene.film([0, 5], a, 36, 64))) for a in (annotation, 0 * annotation))
    shown = np.flatnonzero((frames != empty).any((1, 2, 3)))
    assert shown.tolist() == list(range(shown[0], shown[-1] + 1))
    assert 13 <= shown[0] < 25 < shown[-1] <= 37


def test_instruments_look_different_from_each_other():
    pictures = [instruments.picture(tool, 0.5, (18, 20), 0.3, 0.8, (36, 64))[0] for tool in range(7)]
    assert min(np.abs(a - b).mean() for a, b in combinations(pictures, 2)) > 1


def test_opacity_is_a_share():
    for tool in range(7):
        _, opacity = instruments.picture(tool, 1.0, (18, 20), 0.3, 0.8, (36, 64))
        assert opacity.min() == 0
        assert 0.5 < opacity.max() <= 1


@pytest.mark.parametrize("offset", [(0, 0), (5, 7), (-16, -20), (14, 30), (0, 200)])
def test_compositing_is_alpha_blending(offset):
    rng = np.random.default_rng(0)
    colours, opacity = instruments.picture(6, 0.5, (18, 20), 0.3, 0.8, (36, 64))
    background = rng.integers(0, 256, (36, 64, 3))
    moved = np.zeros((36, 64, 4))
    padded = np.pad(np.dstack([colours.clip(0, 255), opacity]), ((300, 300), (300, 300), (0, 0)))
    moved[:] = padded[300 - offset[0] :, 300 - offset[1] :][:36, :64]
    expected = background + moved[..., 3:] * (moved[..., :3] - background)
    image = background.reshape(36, -1).astype(np.uint16)
    scene.Take(0, 0, [scene.cut(colours, opacity, 0)], np.array([offset])).lay_over(image, 0)
    assert np.abs(image.reshape(36, 64, 3) - expected).max() <= 2


def test_field_is_lit_in_the_middle_and_nearly_black_in_the_corners():
    frames = first_frames(np.zeros((20, 7), np.uint8))
    assert frames[:, [0, 0, -1, -1], [0, -1, 0, -1]].max() < 32
    assert frames[:, 12:24, 20:44].mean((1, 2, 3)).min() > 40


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"seconds": 19}, "set seconds to 20 or more"), ({"width": 63}, "must be even"), ({"height": 35}, "must be even")],
)
def test_unusable_spec_is_refused_and_nothing_written(tmp_path, change, sentence):
    with pytest.raises(Problem, match=sentence):
        cholec80_sim.simulate(SPEC | change, 1, tmp_path)
    assert not list(tmp_path.iterdir())
