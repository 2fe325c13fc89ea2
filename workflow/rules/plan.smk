localrules:
    plan,


# Neither input nor output: it runs whenever it is asked for and needs nothing.
rule plan:
    """Print what the chosen runs would compute, and what it costs."""
    log:
        "results/logs/plan.log",
    conda:
        "../../envs/torch.yaml"
    params:
        runs=PLAIN_RUNS,
        results="results",
        code=code("print_plan"),
    script:
        "../run_stage.py"
