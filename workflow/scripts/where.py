"""The last lines of the demo: where to look."""

from pathlib import Path

PAPERS = Path("results/papers")

for page in sorted(PAPERS.glob("*/*.html")):
    tables = sorted(page.parent.glob("tables/*.csv"))
    figures = sorted(page.parent.glob("figures/*.png"))
    print(f"\n{page.stem}: open {page}")
    print(f"  {len(tables)} tables   {page.parent}/tables/*.csv")
    print(f"  {len(figures)} figures  {page.parent}/figures/*.png and *.pdf")
    print(f"  runs       {page.parent}/manifest.json names them; each is a folder of results/runs")
print("\neverything to read, with the runs behind each number: open results/report/index.html")
