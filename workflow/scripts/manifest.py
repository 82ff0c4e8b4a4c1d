"""Write down which runs a paper's tables and figures rest on."""

import json

from robustloss.files import write_json

write_json(snakemake.output[0], json.loads(snakemake.params.text))  # noqa: F821
