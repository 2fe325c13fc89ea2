rule measure_sharpness:
    """Measure the curvature of batches along their gradients, beside the optimiser's limits."""
    input:
        unpack(optimiser_of),
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
        dataset="results/{run}/dataset.safetensors",
        vectors="results/{run}/spectra/{epoch}/full.vectors.safetensors",
    output:
        sharpness="results/{run}/sharpness/{epoch}.csv",
        cost="results/{run}/costs/measure_sharpness/{epoch}.tsv",
    log:
        "results/{run}/logs/measure_sharpness/{epoch}.log",
    wildcard_constraints:
        run=one_of(WITH_SHARPNESS),
    conda:
        "../../envs/torch.yaml"
    threads: threads_of_products()
    resources:
        gpu=gpus(),
        mem_mb=8000,
        runtime=24 * 60,
    params:
        settings=settings("sharpness"),
        network=network_of,
        own_code=own_of_run,
        epoch=epoch_of,
        code=code_for_run("measure_sharpness"),
    script:
        "../run_stage.py"
