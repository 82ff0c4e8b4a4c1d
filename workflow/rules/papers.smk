# Papers only collect: what a paper's notebook shows rests on the runs that its manifest names.


# Done in less time than it takes to submit it.
localrules:
    manifest,


rule count_frames:
    input:
        ancient(counted_annotations),
        reference="data/reference/{paper}.csv",
    output:
        "results/papers/{paper}/tables/table1.csv",
    log:
        "logs/count_frames/{paper}.log",
    conda:
        "../../envs/robustloss.yaml"
    resources:
        mem_mb=memory(light_job),
        runtime=minutes(light_job),
    params:
        spec=counted_data,
        raw=counted_raw,
    shell:
        "python -m robustloss count --spec {params.spec:q} --raw {params.raw:q} --reference {input.reference:q}"
        " --out {output:q} > {log} 2>&1"


rule manifest:
    input:
        ancient(paper_results),
    output:
        "results/papers/{paper}/manifest.json",
    log:
        "logs/manifest/{paper}.log",
    conda:
        "../../envs/robustloss.yaml"
    resources:
        mem_mb=memory(light_job),
        runtime=minutes(light_job),
    params:
        text=manifest_text,
    script:
        "../scripts/manifest.py"


rule paper:
    input:
        ancient(lost_results),
        notebook="notebooks/{paper}.ipynb",
        manifest="results/papers/{paper}/manifest.json",
        reference="data/reference/{paper}.csv",
        counts=paper_counts,
    output:
        html=report(
            "results/papers/{paper}/{paper}.html",
            caption="../report/notebook.rst",
            category="Papers",
            labels={"paper": "{paper}", "what": "notebook"},
        ),
        notebook="results/papers/{paper}/{paper}.ipynb",
        record="results/papers/{paper}/paper.json",
        claims=report(
            "results/papers/{paper}/claims.csv",
            caption="../report/claims.rst",
            category="Papers",
            labels={"paper": "{paper}", "what": "claims"},
        ),
        figures=report(
            directory("results/papers/{paper}/figures"),
            patterns=["{figure}.png"],
            caption="../report/figure.rst",
            category="Figures",
            subcategory="{paper}",
            labels={"figure": "{figure}"},
        ),
    log:
        "logs/paper/{paper}.log",
    conda:
        "../../envs/robustloss.yaml"
    resources:
        mem_mb=memory(light_job),
        runtime=minutes(light_job),
    params:
        code=paper_code,
    shell:
        "python -m robustloss paper --notebook {input.notebook:q} --manifest {input.manifest:q}"
        " --out results/papers/{wildcards.paper} > {log} 2>&1"


rule report:
    input:
        expand("results/papers/{paper}/{paper}.html", paper=PLAN.manifests),
        templates=REPORT_TEMPLATES,
    output:
        "results/report/index.html",
    log:
        "logs/report.log",
    conda:
        "../../envs/robustloss.yaml"
    resources:
        mem_mb=memory(light_job),
        runtime=minutes(light_job),
    params:
        code=code_digest("robustloss.report"),
    shell:
        "python -m robustloss report --results results --out results/report > {log} 2>&1"
