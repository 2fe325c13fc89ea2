for run in WITH_BATCHNORM:

    rule:
        """Tridiagonalise the full Hessian with the batch statistics of chunks of the data."""
        name:
            f"measure_batchnorm_spectra_{run}"
        input:
            checkpoint=f"results/{run}/checkpoints/{{epoch}}.safetensors",
            dataset=f"results/{run}/dataset.safetensors",
        output:
            spectra=expand(
                f"results/{run}/spectra/{{epoch}}/batchnorm-{{size}}.npz",
                size=chunk_sizes(run),
                allow_missing=True,
            ),
            cost=f"results/{run}/costs/measure_batchnorm_spectra/{{epoch}}.tsv",
        log:
            f"results/{run}/logs/measure_batchnorm_spectra/{{epoch}}.log",
        conda:
            "../../envs/torch.yaml"
        threads: threads_of_products()
        resources:
            gpu=RUNS[run].spectrum.num_gpus,
            mem_mb=8000,
            runtime=24 * 60,
        params:
            settings=RUNS[run].settings("spectrum"),
            chunk_sizes=chunk_sizes(run),
            network=network(run),
            own_code=own(*uses(run)),
            epoch=epoch_of,
            code=code("measure_batchnorm_spectra", *uses(run)),
        script:
            "../run_stage.py"

    rule:
        """Compare extremes by running and by batch statistics, in a table and in figures."""
        name:
            f"compare_batchnorm_{run}"
        input:
            running=per_batchnorm_epoch("results/{run}/spectra/{epoch}/full.npz", run),
            batch=batchnorm_spectra(run),
        output:
            table=expand(table("batchnorm"), run=run),
            figures=per_batchnorm_epoch(
                "results/{run}/figures/stem-batchnorm-{size}-{epoch}.{suffix}",
                run,
                size=chunk_sizes(run),
                suffix=FORMATS,
            ),
        log:
            f"results/{run}/logs/compare_batchnorm.log",
        conda:
            "../../envs/analysis.yaml"
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            formats=FORMATS,
            code=code("compare_batchnorm"),
        script:
            "../run_stage.py"
