"""How fast every 25th frame of a video is decoded, against one single-threaded ffmpeg process that picks the same.

Both read the same 854 x 480, 25 frames per second H.264 file (x264, medium preset) from the page cache and deliver the
same frames in their own pixel format, which is checked; neither converts colours nor resizes. They take turns, and
ffmpeg's start-up is taken off its time. Where others use the machine too, processor time is the steadier measure.
Goal: at least 1.3 times as fast, for key frames 250 and 25 frames apart.

    python tests/benchmarks/extraction.py
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

from robustloss import files  # noqa: E402
from robustloss.data.video import decode_all, read_frames  # noqa: E402
from robustloss.progress import track  # noqa: E402

WIDTH, HEIGHT, EVERY = 854, 480, 25
DISTANCES = (250, 25)
GOAL = 1.3


def film(paths: dict[int, Path], seconds: int) -> None:
    """Encode the same clip once per distance of key frames: a texture under a wandering camera, a moving bar, noise."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (110, 170, 3), dtype=np.uint8)
    scene = av.VideoFrame.from_ndarray(coarse, format="rgb24").reformat(1360, 880, interpolation="BICUBIC").to_ndarray()
    noise = generator.integers(-6, 7, (5, HEIGHT, WIDTH, 3), dtype=np.int16)
    outputs = {distance: av.open(str(path), "w") for distance, path in paths.items()}
    streams = {distance: output.add_stream("libx264", rate=25) for distance, output in outputs.items()}
    for distance, stream in streams.items():
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "medium", "g": str(distance)}
    for number in track(range(25 * seconds), "encoding the clips"):
        left, top = int(250 + 240 * np.sin(number / 90)), int(200 + 190 * np.cos(number / 70))
        picture = scene[top : top + HEIGHT, left : left + WIDTH] + noise[number % len(noise)]
        bar = 3 * number % (WIDTH - 80)
        picture[200:280, bar : bar + 80] = (number % 256, 255 - number % 256, 90)
        frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
        for distance, stream in streams.items():
            outputs[distance].mux(stream.encode(frame))
    for distance, stream in streams.items():
        outputs[distance].mux(stream.encode())
        outputs[distance].close()


def run_ffmpeg(ffmpeg: str, path: Path) -> bytes:
    pick = ["-vf", f"select=not(mod(n\\,{EVERY}))", "-fps_mode", "passthrough"]
    command = [ffmpeg, "-v", "error", "-nostdin", "-threads", "1", "-filter_threads", "1", "-i", str(path), *pick]
    return subprocess.run([*command, "-f", "rawvideo", "-"], stdout=subprocess.PIPE, check=True).stdout


def joined(frames) -> bytes:
    return b"".join(frame.to_ndarray().tobytes() for _, frame in frames)


def time_of(function) -> tuple[float, float, bytes]:
    """Seconds by the wall clock, processor seconds (a child's, if it had one, else this process's), and the result."""
    wall, before = time.perf_counter(), os.times()
    result = function()
    wall, after = time.perf_counter() - wall, os.times()
    user, system, child_user, child_system = (late - early for late, early in zip(after[:4], before[:4], strict=True))
    child = child_user + child_system
    return wall, child if child > 0.005 else user + system, result  # the clock of processor time ticks every 10 ms


def measure(ffmpeg: str, path: Path, count: int, repeats: int) -> dict:
    """Median seconds of each way, and the median over the repeats of ffmpeg's time over ours."""
    wanted = range(0, count, EVERY)
    ways = {
        "ours": lambda: joined(read_frames(path, wanted)),
        "sequential": lambda: joined(decode_all(path, wanted)),
        "ffmpeg": lambda: run_ffmpeg(ffmpeg, path),
        "ffmpeg_start": lambda: subprocess.run([ffmpeg, "-version"], stdout=subprocess.PIPE, check=True).stdout,
    }
    times = {way: [] for way in ways}
    for _ in track(range(repeats + 1), path.stem):
        results = {}
        for way, function in ways.items():
            *seconds, results[way] = time_of(function)
            times[way].append(seconds)
        if not results["ours"] == results["sequential"] == results["ffmpeg"]:
            sys.exit(f"{path.name}: the frames differ, so there is nothing to compare")
    times = {way: np.array(rounds[1:]) for way, rounds in times.items()}  # the first round warms up
    times["ffmpeg"] -= np.median(times["ffmpeg_start"], axis=0)
    ratio, processor_ratio = np.median(times["ffmpeg"] / times["ours"], axis=0).tolist()
    seconds = {f"{way}_seconds": float(np.median(rounds[:, 0])) for way, rounds in times.items()}
    return {"ratio": ratio, "processor_time_ratio": processor_ratio, **seconds, "bytes": path.stat().st_size}


def processor() -> str:
    """The processor's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="length of the clip (60)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds after one that warms up (7)")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "benchmarks" / "extraction.json")
    options = parser.parse_args()
    ffmpeg = shutil.which("ffmpeg")
    if not ffmpeg:
        sys.exit(
            "this benchmark compares with the ffmpeg command line: install it (for example: apt-get install ffmpeg)"
        )
    with tempfile.TemporaryDirectory() as folder:
        paths = {distance: Path(folder) / f"key frames every {distance}.mp4" for distance in DISTANCES}
        film(paths, options.seconds)
        count = 25 * options.seconds
        measured = {distance: measure(ffmpeg, path, count, options.repeats) for distance, path in paths.items()}
    print("source frames per second; ratio: ffmpeg's time over ours, by the wall clock and in processor time")
    print("key frames every         ours   sequential       ffmpeg   ratio  (processor)")
    for distance, row in measured.items():
        speeds = " ".join(f"{count / row[f'{way}_seconds']:12.0f}" for way in ("ours", "sequential", "ffmpeg"))
        print(f"{distance:16} {speeds} {row['ratio']:7.2f} {row['processor_time_ratio']:12.2f}")
    version = subprocess.run([ffmpeg, "-version"], stdout=subprocess.PIPE, check=True, text=True).stdout
    record = {
        "benchmark": "every 25th frame of an 854 x 480 H.264 clip, one thread, frames in yuv420p, no resize",
        "goal": GOAL,
        "clip": {"frames": count, "preset": "medium"},
        "repeats": options.repeats,
        "by_key_frame_distance": measured,
        "hardware": {"processor": processor(), "cores": os.cpu_count()},
        "versions": {
            "python": platform.python_version(),
            "av": av.__version__,
            "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
            "ffmpeg": version.split()[2],
        },
    }
    files.write_json(options.output, record)


if __name__ == "__main__":
    main()
