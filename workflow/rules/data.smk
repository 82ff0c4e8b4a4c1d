# Raw files to prepared data sets: one memory-mappable array and one index for each split.


rule simulate_video:
    output:
        "data/raw/{raw}/videos/video{video}.mp4",
        "data/raw/{raw}/tool_annotations/video{video}-tool.txt",
    log:
        "logs/simulate_video/{raw}-{video}.log",
    # Real videos lie beside.
    wildcard_constraints:
        raw="cholec80-sim-[0-9a-f]+",
    conda:
        "../../envs/robustloss.yaml"
    resources:
        mem_mb=memory(simulate_video_job),
        runtime=minutes(simulate_video_job),
    params:
        spec=drawn_spec,
    shell:
        "python -m robustloss simulate --spec {params.spec:q} --video {wildcards.video}"
        " --out data/raw/{wildcards.raw} > {log} 2>&1"


rule extract_video:
    input:
        ancient(video_source),
    output:
        images=temp("data/prepared/{data}/videos/video{video}.npy"),
        index=temp("data/prepared/{data}/videos/video{video}.csv"),
    log:
        "logs/extract_video/{data}-{video}.log",
    conda:
        "../../envs/robustloss.yaml"
    resources:
        mem_mb=memory(extract_video_job),
        runtime=minutes(extract_video_job),
    params:
        spec=data_spec,
        raw=raw_folder,
    shell:
        "python -m robustloss extract --spec {params.spec:q} --video {wildcards.video} --raw {params.raw:q}"
        " --out data/prepared/{wildcards.data}/videos > {log} 2>&1"


rule assemble_videos:
    input:
        ancient(needed_for("data/prepared/{data}/record.json", extracted_videos)),
    output:
        "data/prepared/{data}/record.json",
    log:
        "logs/assemble_videos/{data}.log",
    wildcard_constraints:
        data=r"cholec80[^/]*",
    conda:
        "../../envs/robustloss.yaml"
    resources:
        mem_mb=memory(prepare_job),
        runtime=minutes(prepare_job),
    params:
        spec=data_spec,
    shell:
        "python -m robustloss assemble --spec {params.spec:q} --out data/prepared/{wildcards.data} > {log} 2>&1"


rule prepare_images:
    output:
        "data/prepared/{data}/record.json",
    log:
        "logs/prepare_images/{data}.log",
    wildcard_constraints:
        data=r"(cifar10|cifar100|digits|mnist|tiny-imagenet-200)-[^/]*",
    conda:
        "../../envs/robustloss.yaml"
    resources:
        mem_mb=memory(prepare_job),
        runtime=minutes(prepare_job),
    params:
        spec=data_spec,
        raw=raw_folder,
        download="--download" if SETTINGS["download"] else "",
    shell:
        "python -m robustloss prepare --spec {params.spec:q} --raw {params.raw:q} {params.download}"
        " --out data/prepared/{wildcards.data} > {log} 2>&1"


rule download_weights:
    output:
        f"{SETTINGS['data_root']}/weights/{{weights}}.pth",
    log:
        "logs/download_weights/{weights}.log",
    conda:
        "../../envs/robustloss.yaml"
    resources:
        mem_mb=memory(light_job),
        runtime=minutes(light_job),
    shell:
        "python -m robustloss weights --out {output:q} > {log} 2>&1"
