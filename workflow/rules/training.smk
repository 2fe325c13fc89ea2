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
                epoch=configuration.checkpoint_epochs(RUNS[run]),
            ),
            training=f"results/{run}/training.csv",
        log:
            f"results/{run}/logs/train_network.log",
        benchmark:
            f"results/{run}/benchmarks/train_network.tsv"
        priority: 20
        conda:
            "../../envs/torch.yaml"
        threads: share_of_cores(len(TRAINED))
        resources:
            gpu=configuration.num_gpus(RUNS[run]["training"]["device"]),
            # A compiler works with several processes.
            mem_mb=8000 if RUNS[run]["training"]["compile"] else 4000,
            runtime=24 * 60,
        params:
            settings=section(run, "training"),
            network=configuration.model_settings(RUNS[run]),
            own_code=own(network_path(run)),
            epochs=configuration.checkpoint_epochs(RUNS[run]),
            code=code("train_network", network_path(run)),
        script:
            "../../scripts/train_network.py"


rule import_checkpoint:
    """Take over weights that were trained elsewhere."""
    input:
        source=lambda wildcards: RUNS[wildcards.run]["checkpoints"].format(
            epoch=wildcards.epoch
        ),
        dataset="results/{run}/dataset.safetensors",
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
        network=lambda wildcards: configuration.model_settings(RUNS[wildcards.run]),
        own_code=own_network,
        epoch=epoch_of,
        code=code_for_network("import_checkpoint"),
    script:
        "../../scripts/import_checkpoint.py"
