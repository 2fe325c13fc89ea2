# One rule per run where the names of the figures depend on the run's batch sizes and factors.
for run in RUNS:

    rule:
        """Draw the Ritz values of one checkpoint with their weights, for every operator."""
        name:
            f"plot_stems_{run}"
        input:
            full=f"results/{run}/spectra/{{epoch}}/full.npz",
            spectra=[
                f"results/{run}/spectra/{{epoch}}/{name.removeprefix('stem-').removesuffix('-{epoch}')}.npz"
                for name in stems(run)
            ],
        output:
            figures=[
                path.format(run=run, epoch="{epoch}")
                for name in stems(run)
                for path in figure(name)
            ],
        params:
            formats=FORMATS,
            code=code("plot_stems"),
        log:
            f"results/{run}/logs/plot_stems/{{epoch}}.log",
        conda:
            "../../envs/analysis.yaml"
        resources:
            mem_mb=1000,
            runtime=10,
        script:
            "../../scripts/plot_stems.py"


for run in WITH_BATCHES:

    rule:
        """Draw the extremes over batches against the epoch, beside those of all the data."""
        name:
            f"plot_boxplots_{run}"
        input:
            extremal=f"results/{run}/tables/extremal_ritz_values.csv",
        output:
            figures=expand(
                f"results/{run}/figures/boxplot-{{end}}-{{size}}.{{suffix}}",
                size=batch_sizes(run),
                end=["largest", "smallest"],
                suffix=FORMATS,
            ),
        params:
            batch_sizes=batch_sizes(run),
            formats=FORMATS,
            code=code("plot_boxplots"),
        log:
            f"results/{run}/logs/plot_boxplots.log",
        conda:
            "../../envs/analysis.yaml"
        resources:
            mem_mb=1000,
            runtime=10,
        script:
            "../../scripts/plot_boxplots.py"


rule plot_shrinkage:
    """Draw the extremes against the number of examples, with the two laws."""
    input:
        shrinkage="results/{run}/tables/shrinkage.csv",
    output:
        figure=figure("shrinkage"),
    params:
        code=code("plot_shrinkage"),
    log:
        "results/{run}/logs/plot_shrinkage.log",
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/plot_shrinkage.py"


rule plot_learning_curves:
    """Draw loss and accuracy against the epoch."""
    input:
        training="results/{run}/training.csv",
    output:
        figure=figure("learning_curves"),
    params:
        code=code("plot_learning_curves"),
    log:
        "results/{run}/logs/plot_learning_curves.log",
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/plot_learning_curves.py"


rule plot_theory:
    """Draw variance, predictions against measurements, and estimates of the true Hessian."""
    input:
        variance=lambda wildcards: per_epoch(
            "results/{run}/variance/{epoch}.csv", wildcards.run
        ),
        theory="results/{run}/tables/theory_vs_empirical.csv",
        true_hessian="results/{run}/tables/true_hessian.csv",
    output:
        variance=figure("variance"),
        theory=figure("theory_vs_empirical"),
        true_hessian=figure("true_hessian"),
    wildcard_constraints:
        run=one_of(WITH_PREDICTIONS),
    params:
        code=code("plot_theory"),
    log:
        "results/{run}/logs/plot_theory.log",
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/plot_theory.py"


rule write_report:
    """Put figures, tables and findings of all runs into one self-contained page."""
    input:
        files=contract_files,
        templates=[
            f"{workflow.basedir}/workflow/report/{name}"
            for name in sorted(os.listdir(f"{workflow.basedir}/workflow/report"))
        ],
    output:
        report="results/report.html",
    params:
        runs=list(RUNS),
        results="results",
        code=code("write_report"),
    log:
        "results/logs/write_report.log",
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/write_report.py"
