rule prepare_dataset:
    """Put the images of a run into one file: both splits as uint8, with their normalisation."""
    output:
        dataset="results/{run}/dataset.safetensors",
        cost="results/{run}/costs/prepare_dataset.tsv",
    log:
        "results/{run}/logs/prepare_dataset.log",
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings("dataset"),
        data_sources=data_sources_of,
        own_code=lambda wildcards: own(source_path(wildcards.run)),
        code=lambda wildcards: code("prepare_dataset", source_path(wildcards.run)),
    script:
        "../run_stage.py"
