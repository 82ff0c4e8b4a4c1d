# The signs of gradient masking of one run's last network.


rule audit:
    input:
        run=ancient("results/runs/{run}/run.json"),
        others=ancient(needed_with_run("results/runs/{run}/audits/{audit}/audit.json")),
    output:
        "results/runs/{run}/audits/{audit}/audit.json",
    log:
        "logs/audit/{run}-{audit}.log",
    conda:
        "../../envs/robustloss.yaml"
    threads: SETTINGS["threads"]
    resources:
        mem_mb=memory(audit_job),
        runtime=minutes(audit_job),
    params:
        data=data_folder,
        spec=audit_spec,
    shell:
        "python -m robustloss audit --run results/runs/{wildcards.run} --data {params.data:q}"
        " --spec {params.spec:q} --out results/runs/{wildcards.run}/audits/{wildcards.audit} > {log} 2>&1"
