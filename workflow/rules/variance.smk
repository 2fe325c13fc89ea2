rule measure_variance:
    """Estimate the variance of the Hessian over examples along random and Ritz directions."""
    input:
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
        dataset="results/{run}/dataset.safetensors",
        vectors="results/{run}/spectra/{epoch}/full.vectors.safetensors",
    output:
        variance="results/{run}/variance/{epoch}.csv",
        subspace="results/{run}/variance/{epoch}.subspace.npz",
    wildcard_constraints:
        run=one_of(WITH_VARIANCE),
    params:
        settings=settings("variance"),
        network=network_of,
        epoch=epoch_of,
        code=code("measure_variance"),
    log:
        "results/{run}/logs/measure_variance/{epoch}.log",
    benchmark:
        "results/{run}/benchmarks/measure_variance/{epoch}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=gpus(),
        mem_mb=8000,
        runtime=24 * 60,
    priority: 5
    script:
        "../../scripts/measure_variance.py"


rule measure_held_out:
    """Measure curvature on the test split: along training Ritz vectors, and a bracket of its own."""
    input:
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
        dataset="results/{run}/dataset.safetensors",
        vectors="results/{run}/spectra/{epoch}/full.vectors.safetensors",
    output:
        held_out="results/{run}/held_out/{epoch}.csv",
        spectrum="results/{run}/spectra/{epoch}/test.npz",
    wildcard_constraints:
        run=one_of(WITH_VARIANCE),
    params:
        settings=settings("theory"),
        network=network_of,
        epoch=epoch_of,
        code=code("measure_held_out"),
    log:
        "results/{run}/logs/measure_held_out/{epoch}.log",
    benchmark:
        "results/{run}/benchmarks/measure_held_out/{epoch}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=gpus(),
        mem_mb=8000,
        runtime=24 * 60,
    priority: 5
    script:
        "../../scripts/measure_held_out.py"
