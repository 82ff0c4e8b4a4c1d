# Papers only collect: what a paper's notebook shows rests on the runs that its manifest names.


rule count_frames:
    input:
        ancient(paper_annotations),
        reference="data/reference/{paper}.csv",
    output:
        "results/papers/{paper}/tables/table1.csv",
    params:
        spec=paper_data,
        raw=paper_raw,
    log:
        "logs/count_frames/{paper}.log",
    shell:
        "python -m robustloss count --spec {params.spec:q} --raw {params.raw:q} --reference {input.reference:q}"
        " --out {output:q} > {log} 2>&1"


rule manifest:
    input:
        ancient(paper_results),
    output:
        "results/papers/{paper}/manifest.json",
    params:
        text=manifest_text,
    log:
        "logs/manifest/{paper}.log",
    script:
        "../scripts/manifest.py"


rule paper:
    input:
        notebook="notebooks/{paper}.ipynb",
        manifest="results/papers/{paper}/manifest.json",
        reference="data/reference/{paper}.csv",
        table1="results/papers/{paper}/tables/table1.csv",
    output:
        html="results/papers/{paper}/{paper}.html",
        notebook="results/papers/{paper}/{paper}.ipynb",
    params:
        code=PAPER_CODE,
    log:
        "logs/paper/{paper}.log",
    shell:
        "python -m robustloss paper --notebook {input.notebook:q} --manifest {input.manifest:q}"
        " --out results/papers/{wildcards.paper} > {log} 2>&1"
