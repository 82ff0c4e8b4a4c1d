# Raw files to prepared data sets: one memory-mappable array and one index for each split.


rule simulate_video:
    output:
        "data/raw/{raw}/videos/video{video}.mp4",
        "data/raw/{raw}/tool_annotations/video{video}-tool.txt",
    params:
        spec=drawn_spec,
    log:
        "logs/simulate_video/{raw}-{video}.log",
    shell:
        "python -m robustloss simulate --spec {params.spec:q} --video {wildcards.video}"
        " --out data/raw/{wildcards.raw} > {log} 2>&1"


rule extract_video:
    input:
        ancient(video_source),
    output:
        images=temp("data/prepared/{data}/videos/video{video}.npy"),
        index=temp("data/prepared/{data}/videos/video{video}.csv"),
    params:
        spec=data_spec,
        raw=raw_folder,
    log:
        "logs/extract_video/{data}-{video}.log",
    shell:
        "python -m robustloss extract --spec {params.spec:q} --video {wildcards.video} --raw {params.raw:q}"
        " --out data/prepared/{wildcards.data}/videos > {log} 2>&1"


rule assemble_videos:
    input:
        ancient(extracted_videos),
    output:
        "data/prepared/{data}/record.json",
    wildcard_constraints:
        data=r"cholec80[^/]*",
    params:
        spec=data_spec,
    log:
        "logs/assemble_videos/{data}.log",
    shell:
        "python -m robustloss assemble --spec {params.spec:q} --out data/prepared/{wildcards.data} > {log} 2>&1"


rule prepare_images:
    output:
        "data/prepared/{data}/record.json",
    wildcard_constraints:
        data=r"(digits|mnist)-[^/]*",
    params:
        spec=data_spec,
        raw=raw_folder,
        download="--download" if SETTINGS["download"] else "",
    log:
        "logs/prepare_images/{data}.log",
    shell:
        "python -m robustloss prepare --spec {params.spec:q} --raw {params.raw:q} {params.download}"
        " --out data/prepared/{wildcards.data} > {log} 2>&1"


rule download_weights:
    output:
        f"{SETTINGS['data_root']}/weights/{{weights}}.pth",
    log:
        "logs/download_weights/{weights}.log",
    shell:
        "python -m robustloss weights --out {output:q} > {log} 2>&1"
