"""The report in a headless Chromium, opened from disk: what scripts, pictures and layout do, a parser cannot see."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import report_fixture

from robustloss import papers, report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "chen2019.ipynb"
WIDTHS = (400, 1280)
# Opens each page in a frame of each width, one after the other, and leaves what it sees in its own body.
PROBE = """<!doctype html><meta charset="utf-8"><body><script>
const pages = %s, widths = %s, found = [];
const look = (page, width) => new Promise(done => {
  const frame = document.createElement("iframe");
  Object.assign(frame, {width, height: 900, src: page});
  frame.onload = () => {
    const inner = frame.contentDocument, view = frame.contentWindow;
    const images = [...inner.images].map(image => [image.getAttribute("src").slice(0, 60), image.naturalWidth]);
    const main = inner.querySelector("main");
    found.push({page, width, images, scrolls: inner.documentElement.scrollWidth - view.innerWidth,
      styled: main ? view.getComputedStyle(main).paddingTop : "", text: inner.body.innerText.length});
    frame.remove();
    done();
  };
  document.body.append(frame);
});
(async () => {
  for (const page of pages) for (const width of widths) await look(page, width);
  document.body.textContent = JSON.stringify(found);
})();
</script></body>
"""

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason=f"no browser: none of {', '.join(NAMES)} is installed"),
    pytest.mark.xdist_group("browser"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The report of two papers, one of them with its true notebook."""
    root = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        results = report_fixture.write(root)
        manifest = "results/papers/chen2019/manifest.json"
        papers.render(NOTEBOOK, manifest, results / "papers" / "chen2019")
        return report.write(results, root / "report").parent


def opened(path: Path, profile: Path, *options: str) -> tuple[str, list[str]]:
    """A page's document when it is still, and what it had to say on the console; nothing beyond the disk is found."""
    command = [BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={profile}", "--no-first-run", "--host-resolver-rules=MAP * ~NOTFOUND"]
    command += ["--allow-file-access-from-files", "--enable-logging=stderr", "--virtual-time-budget=60000"]
    result = subprocess.run(
        [*command, *options, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return result.stdout, [line for line in result.stderr.splitlines() if "CONSOLE" in line]


def probed(folder: Path, names: list[str], tmp_path: Path) -> tuple[list[dict], list[str]]:
    """What the probe finds of pages in a copy of the folder."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True))
    (copy / "probe.html").write_text(PROBE % (json.dumps(names), json.dumps(WIDTHS)), encoding="utf-8")
    document, console = opened(copy / "probe.html", tmp_path / "profile")
    body = re.search(r"<body>(.*)</body>", document, re.DOTALL)[1]
    return json.loads(html.unescape(body)), console


def test_every_page_opens_without_an_error_with_all_its_pictures_and_no_sideways_scrolling(folder, tmp_path):
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*.html"))]
    found, console = probed(folder, names, tmp_path)
    assert console == []
    assert len(found) == len(names) * len(WIDTHS)
    pictures = 0
    for seen in found:
        assert all(width > 0 for _, width in seen["images"]), seen
        assert seen["text"] > 0, seen
        pictures += len(seen["images"])
        if "notebook" not in seen["page"]:
            assert seen["styled"] == "24px" and seen["scrolls"] <= 0, seen
    written = len(list(folder.rglob("*.png")))
    assert pictures >= 2 * 2 * written - 2 > 0


def test_the_probe_sees_what_is_wrong(folder, tmp_path):
    bad = Path(shutil.copytree(folder, tmp_path / "bad"))
    (bad / "chen2019" / "figures" / "summary.png").write_bytes(b"no picture")
    (bad / "style.css").unlink()
    page = bad / "index.html"
    wide = '<div style="width: 3000px">wide</div><script>undefined.fall()</script><img src="https://example.org/a.png">'
    page.write_text(page.read_text(encoding="utf-8").replace("</main>", f"{wide}</main>"), encoding="utf-8")
    found, console = probed(bad, ["index.html", "chen2019/index.html"], tmp_path)
    assert any("Cannot read properties of undefined" in line for line in console)
    first, *_, last = found
    assert first["scrolls"] > 1000 and first["styled"] != "24px"
    assert ["https://example.org/a.png", 0] in first["images"]
    assert ["figures/summary.png", 0] in last["images"]


def test_every_link_of_the_true_notebook_and_report_resolves(folder):
    assert report_fixture.broken(report_fixture.site(folder), folder) == []
