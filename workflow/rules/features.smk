# Clean accuracy, cross-entropy and feature distances of every epoch and split.


rule features:
    input:
        run=ancient("results/runs/{run}/run.json"),
        data=ancient(run_data),
    output:
        record="results/runs/{run}/{features}/features.json",
        epochs="results/runs/{run}/{features}/epochs.csv",
        classes="results/runs/{run}/{features}/classes.csv",
    log:
        "logs/features/{run}-{features}.log",
    conda:
        "../../envs/robustloss.yaml"
    threads: SETTINGS["threads"]
    shell:
        "python -m robustloss features --run results/runs/{wildcards.run} --data $(dirname {input.data:q})"
        " --out results/runs/{wildcards.run}/{wildcards.features} > {log} 2>&1"
