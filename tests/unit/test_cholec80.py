import csv

import av
import numpy as np
import pytest
from PIL import Image

from robustloss.data.cholec80 import (
    CLASSES,
    assemble,
    count_classes,
    extract,
    find_source,
    read_annotation,
    single_tool_seconds,
)
from robustloss.errors import Problem

HEADER = "Frame\tGrasper\tBipolar\tHook\tScissors\tClipper\tIrrigator\tSpecimenBag"
SIZE = 16


def line(second, *tools):
    """The publisher's row of a second that shows the tools of these classes."""
    return "\t".join([str(25 * second), *("1" if tool in tools else "0" for tool in range(7))])


def annotate(raw, video, lines):
    path = raw / "tool_annotations" / f"{video}-tool.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def level(second):
    """The grey level of a second's frame in generated videos and folders."""
    return 40 + 25 * second


def film(raw, video, count):
    """A video whose frames 25 x second are flat in the second's grey level; all others are black."""
    path = raw / "videos" / f"{video}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "4", "bf": "2", "g": "40"}
        for number in range(count):
            grey = level(number // 25) if number % 25 == 0 else 0
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), format="rgb24")
            output.mux(stream.encode(frame))
        output.mux(stream.encode())
    return path


def photograph(raw, video, seconds, ending="png", height=48):
    folder = raw / "frames" / video
    folder.mkdir(parents=True, exist_ok=True)
    for second in seconds:
        Image.new("RGB", (64, height), (level(second),) * 3).save(folder / f"{second:06d}.{ending}")
    return folder


def read_rows(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


ROWS = [line(0, 0), line(1, 0, 2), line(2, 2), line(3), line(4, 6)]  # single-tool seconds 0, 2, 4


def test_annotation_is_read_by_second_and_class(tmp_path):
    annotation = read_annotation(annotate(tmp_path, "video01", ROWS))
    assert annotation.seconds.tolist() == [0, 1, 2, 3, 4]
    assert [[CLASSES[tool] for tool in np.flatnonzero(tools)] for tools in annotation.tools] == [
        ["Grasper"],
        ["Grasper", "Hook"],
        ["Hook"],
        [],
        ["Bag"],
    ]


def test_columns_are_found_by_name_whatever_their_order_and_line_ends(tmp_path):
    path = tmp_path / "video01-tool.txt"
    rows = [HEADER, *ROWS]
    path.write_bytes("".join("\t".join(row.split("\t")[::-1]) + "\r\n" for row in rows).encode())
    expected = read_annotation(annotate(tmp_path, "video02", ROWS))
    np.testing.assert_array_equal(read_annotation(path).tools, expected.tools)
    np.testing.assert_array_equal(read_annotation(path).seconds, expected.seconds)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "it is empty"),
        (HEADER + "\n", "not one annotated second"),
        ("\n" + HEADER, "one column Frame"),
        (HEADER.replace("\tHook", "") + "\n", "one column Hook"),
        (HEADER.replace("Hook", "Grasper") + "\n", "one column Grasper"),
        (HEADER + "\tStapler\n", "unknown column 'Stapler'"),
        (HEADER.replace("\t", ",") + "\n", "with tabs between"),
        (f"{HEADER}\n{line(0)}\n{line(1)[:-2]}\n", "line 3 has 7 values for 8 columns"),
        (f"{HEADER}\n{line(0)}\n\n{line(1)}\n", "line 3 has 1 values"),
        (f"{HEADER}\n{line(0)[:-1]}2\n", "line 2, column SpecimenBag: '2' is neither 0 nor 1"),
        (f"{HEADER}\n0\t0\t\t0\t0\t0\t0\t0\n", "line 2, column Bipolar: '' is neither"),
        (f"{HEADER}\n{line(0)}\n26{line(1)[2:]}\n", "line 3, column Frame: '26' is not a multiple of 25"),
        (f"{HEADER}\n-25{line(1)[2:]}\n", "line 2, column Frame: '-25' is not"),
        (f"{HEADER}\n{line(0)}\n{line(2)}\n{line(2)}\n", "line 4, column Frame: 50 must be above 50"),
        (f"{HEADER}\n{line(0)}\n{line(2)}\n{line(1)}\n", "line 4, column Frame: 25 must be above 50"),
        (b"\xff\xfeF\x00r\x00", "byte 0 is no text"),
    ],
)
def test_bad_annotations_are_named_with_their_line_and_column(tmp_path, content, complaint):
    path = tmp_path / "video01-tool.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Problem, match=r"video01-tool\.txt is not a tool annotation of Cholec80") as problem:
        read_annotation(path)
    assert complaint in str(problem.value)


def test_single_tool_seconds_are_those_with_one_mark(tmp_path):
    marks = np.random.default_rng(0).random((500, 7)) < 0.15
    rows = [line(second, *np.flatnonzero(row)) for second, row in enumerate(marks)]
    seconds, classes = single_tool_seconds(read_annotation(annotate(tmp_path, "video01", rows)))
    expected = [(second, list(row).index(True)) for second, row in enumerate(marks) if list(row).count(True) == 1]
    assert list(zip(seconds, classes, strict=True)) == expected


def test_classes_are_counted_for_every_split_that_a_video_is_in(tmp_path):
    annotate(tmp_path, "video01", ROWS)
    annotate(tmp_path, "video02", [line(0, 1), line(1, 1)])
    annotate(tmp_path, "video10", [line(0, 5), line(1)])
    counts = count_classes(tmp_path / "tool_annotations", {"train": [1, 10], "test": [2], "evaluation": [2, 1]})
    assert counts == {
        "train": [1, 0, 1, 0, 0, 1, 1],
        "test": [0, 2, 0, 0, 0, 0, 0],
        "evaluation": [1, 2, 1, 0, 0, 0, 1],
    }
    with pytest.raises(Problem, match=r"video03-tool\.txt cannot be read \(No such file"):
        count_classes(tmp_path / "tool_annotations", {"train": [1, 3]})


def test_a_video_is_preferred_to_a_folder_of_its_frames(tmp_path):
    annotate(tmp_path, "video01", ROWS)
    folder = photograph(tmp_path, "video01", [0])
    assert find_source(tmp_path, "video01") == folder
    file = film(tmp_path, "video01", 2)
    assert find_source(tmp_path, "video01") == file


def test_missing_sources_and_annotations_are_named(tmp_path):
    annotate(tmp_path, "video01", ROWS)
    photograph(tmp_path, "video02", [0])
    with pytest.raises(Problem, match=r"video01 has neither .*videos/video01\.mp4 nor a folder .*frames/video01"):
        find_source(tmp_path, "video01")
    with pytest.raises(Problem, match=r"frames/video02 has no annotation .*video02-tool\.txt"):
        find_source(tmp_path, "video02")


def extracted(raw, video):
    images, index = raw / "out" / f"{video}.npy", raw / "out" / f"{video}.csv"
    extract(video, raw, SIZE, images, index)
    return np.load(images, allow_pickle=False), read_rows(index)


def index_rows(video, *seconds_and_classes):
    return [
        {"video": video, "second": str(second), "frame": str(25 * second), "class": str(tool)}
        for second, tool in seconds_and_classes
    ]


def test_extracting_a_video_takes_exactly_the_frames_of_its_single_tool_seconds(tmp_path):
    annotate(tmp_path, "video01", ROWS)
    film(tmp_path, "video01", 101)
    images, rows = extracted(tmp_path, "video01")
    assert rows == index_rows("video01", (0, 0), (2, 2), (4, 6))
    assert images.shape == (3, SIZE, SIZE, 3) and images.dtype == np.uint8
    for image, second in zip(images, [0, 2, 4], strict=True):
        np.testing.assert_allclose(image, level(second), atol=2)


@pytest.mark.parametrize("ending", ["png", "jpg", "jpeg"])
def test_extracting_a_folder_takes_the_single_tool_seconds_that_are_there(tmp_path, ending):
    annotate(tmp_path, "video68", ROWS)
    folder = photograph(tmp_path, "video68", [1, 2, 3, 4], ending)
    (folder / ".hidden").touch()
    images, rows = extracted(tmp_path, "video68")
    assert rows == index_rows("video68", (2, 2), (4, 6))
    for image, second in zip(images, [2, 4], strict=True):
        np.testing.assert_allclose(image, level(second), atol=1)


def test_images_are_squeezed_into_the_square_in_rgb_order(tmp_path):
    annotate(tmp_path, "video01", [line(0, 0)])
    folder = tmp_path / "frames" / "video01"
    folder.mkdir(parents=True)
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:24, :32], picture[24:, 32:] = (250, 10, 60), (20, 200, 90)
    Image.fromarray(picture).save(folder / "000000.png")
    (image,), _ = extracted(tmp_path, "video01")
    half = SIZE // 2
    np.testing.assert_allclose(image[2 : half - 2, 2 : half - 2], np.broadcast_to((250, 10, 60), (4, 4, 3)), atol=2)
    np.testing.assert_allclose(image[half + 2 : -2, half + 2 : -2], np.broadcast_to((20, 200, 90), (4, 4, 3)), atol=2)
    np.testing.assert_allclose(image[half + 2 : -2, 2 : half - 2], 0, atol=2)


def test_a_video_shorter_than_its_annotation_leaves_nothing_behind(tmp_path):
    annotate(tmp_path, "video01", ROWS)
    film(tmp_path, "video01", 100)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "video01.csv").write_text("of an earlier extraction")
    with pytest.raises(Problem, match=r"video01\.mp4 has 100 frames .* 1 wanted .* from frame 100 \(second 4\)"):
        extracted(tmp_path, "video01")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("12.png", r"12\.png must be named by its second in six digits"),
        ("frame_000002.png", r"frame_000002\.png must be named"),
        ("000002.txt", r"000002\.txt must be named"),
        ("000005.png", r"000005\.png has no row Frame 125 in .*video01-tool\.txt, which ends with row Frame 100"),
        ("000000.jpg", r"000000\.png and 000000\.jpg are both of second 0"),
        ("000002.png", r"000002\.png cannot be read as an image"),
    ],
)
def test_bad_files_among_the_frames_are_named(tmp_path, name, complaint):
    annotate(tmp_path, "video01", ROWS)
    folder = photograph(tmp_path, "video01", [0])
    (folder / name).write_bytes(b"no image")
    with pytest.raises(Problem, match=complaint):
        extracted(tmp_path, "video01")


def test_a_cut_off_image_is_named(tmp_path):
    annotate(tmp_path, "video01", ROWS)
    path = photograph(tmp_path, "video01", [2], "jpg", height=640) / "000002.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(Problem, match=r"000002\.jpg cannot be read as an image \(image file is truncated"):
        extracted(tmp_path, "video01")


def test_frames_without_a_single_tool_are_refused(tmp_path):
    annotate(tmp_path, "video01", ROWS)
    photograph(tmp_path, "video01", [1, 3])
    with pytest.raises(Problem, match="frames/video01 has no frame that shows exactly one tool"):
        extracted(tmp_path, "video01")


SPEC = {"name": "cholec80", "image_size": SIZE, "splits": {"train": [2, 1], "test": [3], "evaluation": [3]}}


@pytest.fixture
def parts(tmp_path):
    """What was extracted of three videos; 1 and 2 together show all tools."""
    tools = {1: [0, 1, 2, 6], 2: [3, 4, 5], 3: [0, 2]}
    for number, classes in tools.items():
        video = f"video{number:02d}"
        annotate(tmp_path, video, [line(second, tool) for second, tool in enumerate(classes)])
        photograph(tmp_path, video, range(len(classes)))
        extracted(tmp_path, video)
    pairs = {
        number: (tmp_path / "out" / f"video{number:02d}.npy", tmp_path / "out" / f"video{number:02d}.csv")
        for number in tools
    }
    return {split: [pairs[number] for number in numbers] for split, numbers in SPEC["splits"].items()}


def test_assembled_splits_hold_their_videos_in_order(parts, tmp_path):
    prepared = assemble(parts, tmp_path / "prepared", SPEC)
    for split, pairs in parts.items():
        expected = np.concatenate([np.load(images) for images, _ in pairs])
        np.testing.assert_array_equal(prepared.images(split), expected)
    assert prepared.labels("train").tolist() == [3, 4, 5, 0, 1, 2, 6]
    assert read_rows(tmp_path / "prepared" / "train.csv")[2:4] == index_rows("video02", (2, 5)) + index_rows(
        "video01", (0, 0)
    )
    assert prepared.classes == list(CLASSES)
    assert prepared.record["data"] == SPEC
    assert prepared.record["sources"] == {"video01": {"images": 4}, "video02": {"images": 3}, "video03": {"images": 2}}


def test_blocks_smaller_than_a_video_give_the_same_bytes(parts, tmp_path, monkeypatch):
    whole = assemble(parts, tmp_path / "whole", SPEC)
    monkeypatch.setattr("robustloss.data.cholec80.IMAGES_AT_ONCE", 3)
    assert assemble(parts, tmp_path / "pieces", SPEC).digest == whole.digest


def test_other_videos_than_the_splits_name_are_refused(parts, tmp_path):
    parts["train"].reverse()
    with pytest.raises(Problem, match="train must be video02, video01, but was given video01, video02"):
        assemble(parts, tmp_path / "prepared", SPEC)


def test_another_image_size_is_refused(parts, tmp_path):
    with pytest.raises(Problem, match=r"video02\.npy is uint8 \(3, 16, 16, 3\), but .* needs uint8 \(3, 32, 32, 3\)"):
        assemble(parts, tmp_path / "prepared", SPEC | {"image_size": 32})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, r"video02\.csv is missing"),
        ("", "must list the frames of one video"),
        ("video,second,frame\nvideo02,0,0\n", r"damaged \('class'\)"),
        ("video,second,frame,class\nvideo02,0,0,x\n", r"video02\.csv is damaged"),
        ("video,second,frame,class\nvideo02,0,0,1\n", r"video02\.npy is uint8 \(3, .* needs uint8 \(1,"),
    ],
)
def test_a_damaged_index_is_named(parts, tmp_path, content, complaint):
    _, index = parts["train"][0]
    index.unlink()
    if content is not None:
        index.write_text(content)
    with pytest.raises(Problem, match=complaint):
        assemble(parts, tmp_path / "prepared", SPEC)


@pytest.mark.parametrize("kept", [0, 60, 500])
def test_damaged_images_are_named(parts, tmp_path, kept):
    images, _ = parts["train"][0]
    images.write_bytes(images.read_bytes()[:kept])
    with pytest.raises(Problem, match=r"video02\.npy is an unreadable file"):
        assemble(parts, tmp_path / "prepared", SPEC)
