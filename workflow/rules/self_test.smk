rule measure_self_test:
    """Measure what subsamples show of the extremes of all the data, for estimators of these."""
    input:
        checkpoint="results/{run}/checkpoints/{epoch}.safetensors",
        dataset="results/{run}/dataset.safetensors",
    output:
        self_test="results/{run}/self_test/{epoch}.csv",
        cost="results/{run}/costs/measure_self_test/{epoch}.tsv",
    log:
        "results/{run}/logs/measure_self_test/{epoch}.log",
    wildcard_constraints:
        run=one_of(WITH_SELF_TEST),
    priority: 15
    conda:
        "../../envs/torch.yaml"
    threads: threads_of_products()
    resources:
        gpu=gpus(),
        mem_mb=8000,
        runtime=24 * 60,
    params:
        settings=settings("self_test"),
        network=network_of,
        own_code=own_of_run,
        code=code_for_run("measure_self_test"),
    script:
        "../run_stage.py"


rule tabulate_self_test:
    """Let estimators of the true Hessian guess, and put their errors into a table and a figure."""
    input:
        self_tests=lambda wildcards: expand(
            "results/{run}/self_test/{epoch}.csv",
            run=wildcards.run,
            epoch=self_test_epochs(wildcards.run),
        ),
    output:
        table=table("self_test"),
        figure=figure("self_test"),
    log:
        "results/{run}/logs/tabulate_self_test.log",
    wildcard_constraints:
        run=one_of(WITH_SELF_TEST),
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("tabulate_self_test", *ESTIMATORS.values()),
    script:
        "../run_stage.py"
