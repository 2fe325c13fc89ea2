rule measure_operator_spectrum:
    """Tridiagonalise a further curvature matrix of all the training data."""
    input:
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
        dataset="results/{run}/dataset.safetensors",
    output:
        spectrum="results/{run}/spectra/{epoch}/{kind}.npz",
        cost="results/{run}/costs/measure_operator_spectrum/{epoch}-{kind}.tsv",
    log:
        "results/{run}/logs/measure_operator_spectrum/{epoch}-{kind}.log",
    wildcard_constraints:
        run=one_of(WITH_OPERATORS),
        kind=one_of({kind for run in RUNS.values() for kind in run.operators}),
    conda:
        "../../envs/torch.yaml"
    threads: threads_of_products()
    resources:
        gpu=gpus(),
        mem_mb=8000,
        runtime=24 * 60,
    params:
        settings=lambda wildcards: RUNS[wildcards.run].operator_settings(wildcards.kind),
        network=network_of,
        own_code=lambda wildcards: own(
            *uses(wildcards.run), operator_path(wildcards.run, wildcards.kind)
        ),
        epoch=epoch_of,
        code=lambda wildcards: code(
            "measure_operator_spectrum",
            *uses(wildcards.run),
            operator_path(wildcards.run, wildcards.kind),
        ),
    script:
        "../run_stage.py"
