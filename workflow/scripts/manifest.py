"""Write down which runs a paper's tables and figures rest on."""

import json
from pathlib import Path

manifest = json.loads(snakemake.params.text)  # noqa: F821
Path(snakemake.output[0]).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")  # noqa: F821
