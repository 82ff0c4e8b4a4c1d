"""Write down which runs a paper's tables and figures rest on."""

import json
from pathlib import Path

from robustloss.clock import no_later_than_now
from robustloss.files import write_json

write_json(snakemake.output[0], json.loads(snakemake.params.text))  # noqa: F821
no_later_than_now(map(Path, snakemake.input))  # noqa: F821
