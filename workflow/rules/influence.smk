rule measure_influence:
    """Measure curvature at the outputs that examples would have without training on them."""
    input:
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
        dataset="results/{run}/dataset.safetensors",
        vectors="results/{run}/spectra/{epoch}/full.vectors.safetensors",
    output:
        influence="results/{run}/influence/{epoch}.csv",
        cost="results/{run}/costs/measure_influence/{epoch}.tsv",
    log:
        "results/{run}/logs/measure_influence/{epoch}.log",
    wildcard_constraints:
        run=one_of(WITH_INFLUENCE),
    conda:
        "../../envs/torch.yaml"
    threads: threads_of_products()
    resources:
        gpu=gpus(),
        mem_mb=8000,
        runtime=24 * 60,
    params:
        settings=settings("influence"),
        network=network_of,
        own_code=own_of_run,
        epoch=epoch_of,
        code=code_for_run("measure_influence"),
    script:
        "../run_stage.py"
