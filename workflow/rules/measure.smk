# What a figure needs to know of one run's last network: arrays, and the record of how they were made.


rule measure:
    input:
        run=ancient("results/runs/{run}/run.json"),
        data=ancient(needed_with_run("results/runs/{run}/measured/{measured}/measurement.json")),
    output:
        "results/runs/{run}/measured/{measured}/measurement.json",
    log:
        "logs/measure/{run}-{measured}.log",
    conda:
        "../../envs/robustloss.yaml"
    threads: SETTINGS["threads"]
    resources:
        mem_mb=memory(measure_job),
        runtime=minutes(measure_job),
    params:
        data=data_folder,
        spec=measurement_spec,
    shell:
        "python -m robustloss measure --run results/runs/{wildcards.run} --data {params.data:q}"
        " --spec {params.spec:q} --out results/runs/{wildcards.run}/measured/{wildcards.measured} > {log} 2>&1"
