rule measure_group_spectra:
    """Tridiagonalise the diagonal blocks of a curvature matrix by groups of parameters."""
    input:
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
        dataset="results/{run}/dataset.safetensors",
    output:
        groups="results/{run}/spectra/{epoch}/groups.npz",
        cost="results/{run}/costs/measure_group_spectra/{epoch}.tsv",
    log:
        "results/{run}/logs/measure_group_spectra/{epoch}.log",
    wildcard_constraints:
        run=one_of(WITH_GROUPS),
    conda:
        "../../envs/torch.yaml"
    threads: threads_of_products()
    resources:
        gpu=gpus(),
        mem_mb=8000,
        runtime=24 * 60,
    params:
        settings=settings("groups"),
        network=network_of,
        own_code=own_of_run,
        epoch=epoch_of,
        code=code_for_run("measure_group_spectra"),
    script:
        "../run_stage.py"
