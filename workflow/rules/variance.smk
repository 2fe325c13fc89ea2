rule measure_directions:
    """Measure what single directions show: variance over examples, and held-out curvature."""
    input:
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
        dataset="results/{run}/dataset.safetensors",
        vectors="results/{run}/spectra/{epoch}/full.vectors.safetensors",
    output:
        variance="results/{run}/variance/{epoch}.csv",
        subspace="results/{run}/variance/{epoch}.subspace.npz",
        held_out="results/{run}/held_out/{epoch}.csv",
        cost="results/{run}/costs/measure_directions/{epoch}.tsv",
    log:
        "results/{run}/logs/measure_directions/{epoch}.log",
    wildcard_constraints:
        run=one_of(WITH_VARIANCE),
    priority: 5
    conda:
        "../../envs/torch.yaml"
    threads: threads_of_products()
    resources:
        gpu=gpus(),
        mem_mb=8000,
        runtime=24 * 60,
    params:
        settings=settings("variance"),
        network=network_of,
        own_code=own_of_run,
        code=code_for_run("measure_directions"),
    script:
        "../run_stage.py"


rule measure_subspace:
    """Measure the noise within as many directions as a share of it asks for."""
    input:
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
        dataset="results/{run}/dataset.safetensors",
        vectors="results/{run}/spectra/{epoch}/full.vectors.safetensors",
    output:
        subspace="results/{run}/subspace/{epoch}.npz",
        reached="results/{run}/subspace/{epoch}.csv",
        cost="results/{run}/costs/measure_subspace/{epoch}.tsv",
    log:
        "results/{run}/logs/measure_subspace/{epoch}.log",
    wildcard_constraints:
        run=one_of(WITH_SUBSPACE),
    priority: 5
    conda:
        "../../envs/torch.yaml"
    threads: threads_of_products()
    resources:
        gpu=gpus(),
        mem_mb=8000,
        runtime=24 * 60,
    params:
        settings=settings("subspace"),
        network=network_of,
        own_code=own_of_run,
        code=code_for_run("measure_subspace"),
    script:
        "../run_stage.py"


rule measure_parts:
    """Measure the outer eigenpairs of the Hessians of single examples."""
    input:
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
        dataset="results/{run}/dataset.safetensors",
        vectors="results/{run}/spectra/{epoch}/full.vectors.safetensors",
    output:
        parts="results/{run}/variance/{epoch}.parts.npz",
        cost="results/{run}/costs/measure_parts/{epoch}.tsv",
    log:
        "results/{run}/logs/measure_parts/{epoch}.log",
    wildcard_constraints:
        run=one_of(WITH_PARTS),
    priority: 5
    conda:
        "../../envs/torch.yaml"
    threads: threads_of_products()
    resources:
        gpu=gpus(),
        mem_mb=8000,
        runtime=24 * 60,
    params:
        settings=settings("parts"),
        network=network_of,
        own_code=own_of_run,
        code=code_for_run("measure_parts"),
    script:
        "../run_stage.py"
