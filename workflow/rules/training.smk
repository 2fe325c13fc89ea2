for run in TRAINED:

    rule:
        """Train a network from its initialisation and keep the weights of the listed epochs."""
        name:
            f"train_network_{run}"
        input:
            dataset=f"results/{run}/dataset.safetensors",
        output:
            checkpoints=expand(
                f"results/{run}/checkpoints/{{epoch}}.safetensors",
                epoch=RUNS[run].checkpoint_epochs,
            ),
            training=f"results/{run}/training.csv",
            cost=f"results/{run}/costs/train_network.tsv",
        log:
            f"results/{run}/logs/train_network.log",
        priority: 20
        conda:
            "../../envs/torch.yaml"
        threads: share_of_cores(len(TRAINED))
        resources:
            gpu=RUNS[run].training.num_gpus,
            # A compiler works with several processes.
            mem_mb=8000 if RUNS[run].training.compile else 4000,
            runtime=24 * 60,
        params:
            settings=RUNS[run].settings("training"),
            network=RUNS[run].network,
            own_code=own(*uses(run), *augmentation_path(run)),
            epochs=RUNS[run].checkpoint_epochs,
            code=code("train_network", *uses(run), *augmentation_path(run)),
        script:
            "../run_stage.py"


rule import_checkpoint:
    """Take over weights that were trained elsewhere."""
    input:
        unpack(imported_from),
    output:
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
    log:
        "results/{run}/logs/import_checkpoint/{epoch}.log",
    wildcard_constraints:
        run=one_of(IMPORTED),
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        network=lambda wildcards: RUNS[wildcards.run].network,
        own_code=lambda wildcards: own(*uses(wildcards.run), *places_of(wildcards.run)),
        place=place_of,
        epoch=epoch_of,
        code=lambda wildcards: code(
            "import_checkpoint", *uses(wildcards.run), *places_of(wildcards.run)
        ),
    script:
        "../run_stage.py"
