# The signs of gradient masking of one run's last network.


rule audit:
    input:
        run=ancient("results/runs/{run}/run.json"),
        data=ancient(run_data),
        sources=ancient(audit_sources),
    output:
        "results/runs/{run}/audits/{audit}/audit.json",
    log:
        "logs/audit/{run}-{audit}.log",
    conda:
        "../../envs/robustloss.yaml"
    threads: SETTINGS["threads"]
    params:
        spec=audit_spec,
    shell:
        "python -m robustloss audit --run results/runs/{wildcards.run} --data $(dirname {input.data:q})"
        " --spec {params.spec:q} --out results/runs/{wildcards.run}/audits/{wildcards.audit} > {log} 2>&1"
