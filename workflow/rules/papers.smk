# Papers only collect: what a paper's notebook shows rests on the runs that its manifest names.


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
    params:
        text=manifest_text,
    script:
        "../scripts/manifest.py"


rule paper:
    input:
        notebook="notebooks/{paper}.ipynb",
        manifest="results/papers/{paper}/manifest.json",
        reference="data/reference/{paper}.csv",
        counts=paper_counts,
    output:
        html="results/papers/{paper}/{paper}.html",
        notebook="results/papers/{paper}/{paper}.ipynb",
    log:
        "logs/paper/{paper}.log",
    conda:
        "../../envs/robustloss.yaml"
    params:
        code=paper_code,
    shell:
        "python -m robustloss paper --notebook {input.notebook:q} --manifest {input.manifest:q}"
        " --out results/papers/{wildcards.paper} > {log} 2>&1"
