# One network per run. Weights of every epoch and the state to go on from are not declared, so that a kill keeps them;
# run.json is written last and vouches for them.


rule train:
    input:
        data=ancient(run_data),
        pretrained=ancient(pretrained_weights),
    output:
        record="results/runs/{run}/run.json",
        history="results/runs/{run}/history.csv",
    log:
        "logs/train/{run}.log",
    conda:
        "../../envs/robustloss.yaml"
    threads: SETTINGS["threads"]
    params:
        spec=run_spec,
    shell:
        "python -m robustloss train --spec {params.spec:q} --data $(dirname {input.data:q})"
        " --pretrained {input.pretrained:q} --out results/runs/{wildcards.run} > {log} 2>&1"
