# What was published, shown again and attacked again; no training, audit or measurement can follow from these rules.


ruleorder: restore > manifest


rule restore:
    input:
        "results/published/{paper}/manifest.json",
    output:
        "results/papers/{paper}/manifest.json",
    log:
        "logs/restore/{paper}.log",
    conda:
        "../../envs/robustloss.yaml"
    resources:
        mem_mb=memory(light_job),
        runtime=minutes(light_job),
    shell:
        "cp -R results/published/{wildcards.paper}/. results/papers/{wildcards.paper}/ > {log} 2>&1"


rule attack_again:
    input:
        data=ancient(needed_for("results/again/{run}/{attack}/attack.json", run_data)),
    output:
        record="results/again/{run}/{attack}/attack.json",
        epochs="results/again/{run}/{attack}/epochs.csv",
    log:
        "logs/attack_again/{run}-{attack}.log",
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
        " --spec {params.spec:q} --out results/again/{wildcards.run}/{wildcards.attack} > {log} 2>&1"


rule attacks_again:
    input:
        [f"results/again/{run}/{attack}/attack.json" for run, attacks in PLAN.again.items() for attack in attacks],
