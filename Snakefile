from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/last_lines.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/quick.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/attack.smk"
include: "workflow/rules/audit.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/papers.smk"


# These replace the manifests of a plan by those that were published.
if SETTINGS["published"]:

    include: "workflow/rules/published.smk"


rule all:
    default_target: True
    input:
        "results/report/index.html",
        expand("results/papers/{paper}/paper.json", paper=PLAN.manifests),


rule table1:
    input:
        "results/papers/ding2025/tables/table1.csv",
