# One attack on the networks of one run: every sample's outcome at every epoch, and the summary.


rule attack:
    input:
        run=ancient("results/runs/{run}/run.json"),
        others=ancient(needed_with_run("results/runs/{run}/attacks/{attack}/attack.json")),
    output:
        record="results/runs/{run}/attacks/{attack}/attack.json",
        epochs="results/runs/{run}/attacks/{attack}/epochs.csv",
    log:
        "logs/attack/{run}-{attack}.log",
    conda:
        "../../envs/robustloss.yaml"
    threads: SETTINGS["threads"]
    resources:
        mem_mb=memory(attack_job),
        runtime=minutes(attack_job),
    params:
        data=data_folder,
        spec=attack_spec,
    shell:
        "python -m robustloss attack --run results/runs/{wildcards.run} --data {params.data:q}"
        " --spec {params.spec:q} --out results/runs/{wildcards.run}/attacks/{wildcards.attack} > {log} 2>&1"
