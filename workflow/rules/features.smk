# Clean accuracy, cross-entropy and feature distances of every epoch and split.


rule features:
    input:
        run=ancient("results/runs/{run}/run.json"),
        data=ancient(needed_with_run("results/runs/{run}/{features}/features.json")),
    output:
        record="results/runs/{run}/{features}/features.json",
        epochs="results/runs/{run}/{features}/epochs.csv",
        classes="results/runs/{run}/{features}/classes.csv",
    log:
        "logs/features/{run}-{features}.log",
    conda:
        "../../envs/robustloss.yaml"
    threads: SETTINGS["threads"]
    resources:
        mem_mb=memory(features_job),
        runtime=minutes(features_job),
    params:
        data=data_folder,
    shell:
        "python -m robustloss features --run results/runs/{wildcards.run} --data {params.data:q}"
        " --out results/runs/{wildcards.run}/{wildcards.features} > {log} 2>&1"
