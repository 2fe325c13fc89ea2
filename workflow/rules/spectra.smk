rule measure_full_spectra:
    """Tridiagonalise Hessian and Gauss-Newton matrix of all the data, and the test Hessian.

    Loss and accuracy come with them.
    """
    input:
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
        dataset="results/{run}/dataset.safetensors",
    output:
        spectrum="results/{run}/spectra/{epoch}/full.npz",
        vectors="results/{run}/spectra/{epoch}/full.vectors.safetensors",
        ggn="results/{run}/spectra/{epoch}/ggn.npz",
        test="results/{run}/spectra/{epoch}/test.npz",
        evaluation="results/{run}/evaluation/{epoch}.csv",
        cost="results/{run}/costs/measure_full_spectra/{epoch}.tsv",
    log:
        "results/{run}/logs/measure_full_spectra/{epoch}.log",
    priority: 10
    conda:
        "../../envs/torch.yaml"
    threads: threads_of_products()
    resources:
        gpu=gpus(),
        mem_mb=8000,
        runtime=24 * 60,
    params:
        settings=settings("spectrum"),
        network=network_of,
        own_code=own_of_run,
        epoch=epoch_of,
        code=code_for_run("measure_full_spectra"),
    script:
        "../run_stage.py"


# One rule per run from here on: which files there are depends on the run's batch sizes and
# factors. All sizes and folds are one job, because each job pays for the start of PyTorch.
for run in WITH_BATCHES:

    rule:
        """Tridiagonalise the Hessians of random batches H_B, and the noise H_B - H of some."""
        name:
            f"measure_batch_spectra_{run}"
        input:
            checkpoint=f"results/{run}/checkpoints/{{epoch}}.safetensors",
            dataset=f"results/{run}/dataset.safetensors",
            vectors=f"results/{run}/spectra/{{epoch}}/full.vectors.safetensors",
        output:
            overlaps=f"results/{run}/overlaps/{{epoch}}.csv",
            batch=expand(
                f"results/{run}/spectra/{{epoch}}/batch-{{size}}.npz",
                size=batch_sizes(run),
                allow_missing=True,
            ),
            noise=expand(
                f"results/{run}/spectra/{{epoch}}/noise-{{size}}.npz",
                size=batch_sizes(run),
                allow_missing=True,
            ),
            cost=f"results/{run}/costs/measure_batch_spectra/{{epoch}}.tsv",
        log:
            f"results/{run}/logs/measure_batch_spectra/{{epoch}}.log",
        priority: 5  # before figures: tables wait for all of them
        conda:
            "../../envs/torch.yaml"
        threads: threads_of_products()
        resources:
            gpu=RUNS[run].spectrum.num_gpus,
            mem_mb=8000,
            runtime=24 * 60,
        params:
            settings=RUNS[run].settings("batch"),
            network=network(run),
            own_code=own(*uses(run)),
            epoch=epoch_of,
            code=code("measure_batch_spectra", *uses(run)),
        script:
            "../run_stage.py"


for run in WITH_AUGMENTATION:

    rule:
        """Tridiagonalise the Hessians of fixed sets of augmented images."""
        name:
            f"measure_augmented_spectra_{run}"
        input:
            checkpoint=f"results/{run}/checkpoints/{{epoch}}.safetensors",
            dataset=f"results/{run}/dataset.safetensors",
        output:
            spectra=expand(
                f"results/{run}/spectra/{{epoch}}/augmented-{{factor}}.npz",
                factor=factors(run),
                allow_missing=True,
            ),
            cost=f"results/{run}/costs/measure_augmented_spectra/{{epoch}}.tsv",
        log:
            f"results/{run}/logs/measure_augmented_spectra/{{epoch}}.log",
        priority: 5  # before figures: tables wait for all of them
        conda:
            "../../envs/torch.yaml"
        threads: threads_of_products()
        resources:
            gpu=RUNS[run].spectrum.num_gpus,
            mem_mb=8000,
            runtime=24 * 60,
        params:
            settings=RUNS[run].settings("augmentation"),
            network=network(run),
            own_code=own(*uses(run), *augmentation_path(run)),
            epoch=epoch_of,
            code=code("measure_augmented_spectra", *uses(run), *augmentation_path(run)),
        script:
            "../run_stage.py"


for run in WITH_SUBSAMPLES:

    rule:
        """Tridiagonalise the Hessians of disjoint random parts of the training data."""
        name:
            f"measure_subsample_spectra_{run}"
        input:
            checkpoint=f"results/{run}/checkpoints/{{epoch}}.safetensors",
            dataset=f"results/{run}/dataset.safetensors",
        output:
            spectra=expand(
                f"results/{run}/spectra/{{epoch}}/subsample-{{parts}}.npz",
                parts=parts_of(run),
                allow_missing=True,
            ),
            cost=f"results/{run}/costs/measure_subsample_spectra/{{epoch}}.tsv",
        log:
            f"results/{run}/logs/measure_subsample_spectra/{{epoch}}.log",
        priority: 5  # before figures: tables wait for all of them
        conda:
            "../../envs/torch.yaml"
        threads: threads_of_products()
        resources:
            gpu=RUNS[run].spectrum.num_gpus,
            mem_mb=8000,
            runtime=24 * 60,
        params:
            settings=RUNS[run].settings("subsamples"),
            network=network(run),
            own_code=own(*uses(run)),
            epoch=epoch_of,
            code=code("measure_subsample_spectra", *uses(run)),
        script:
            "../run_stage.py"
