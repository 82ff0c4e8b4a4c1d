# One network per run. Weights of every epoch and the state to go on from are not declared, so that a kill keeps them;
# run.json is written last and vouches for them.


rule train:
    input:
        data=ancient(needed_for("results/runs/{run}/run.json", run_data)),
        pretrained=ancient(needed_for("results/runs/{run}/run.json", pretrained_weights)),
    output:
        record="results/runs/{run}/run.json",
        history="results/runs/{run}/history.csv",
    log:
        "logs/train/{run}.log",
    conda:
        "../../envs/robustloss.yaml"
    threads: SETTINGS["threads"]
    resources:
        mem_mb=memory(train_job),
        runtime=minutes(train_job),
    params:
        data=data_folder,
        pretrained=pretrained_file,
        spec=run_spec,
    shell:
        "python -m robustloss train --spec {params.spec:q} --data {params.data:q}"
        " --pretrained {params.pretrained:q} --out results/runs/{wildcards.run} > {log} 2>&1"
