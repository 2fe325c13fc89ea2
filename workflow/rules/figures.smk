# One rule per run where the names of the figures depend on the run's batch sizes and factors.
for run in RUNS:

    rule:
        """Draw the Ritz values of all checkpoints with their weights."""
        name:
            f"plot_stems_{run}"
        input:
            full=per_epoch("results/{run}/spectra/{epoch}/full.npz", run),
            spectra=per_epoch(
                "results/{run}/spectra/{epoch}/{kind}.npz", run, kind=kinds(run)
            ),
        output:
            figures=per_epoch(
                "results/{run}/figures/stem-{kind}-{epoch}.{suffix}",
                run,
                kind=kinds(run),
                suffix=FORMATS,
            ),
        log:
            f"results/{run}/logs/plot_stems.log",
        conda:
            "../../envs/analysis.yaml"
        resources:
            mem_mb=1000,
            runtime=30,
        params:
            formats=FORMATS,
            code=code("plot_stems"),
        script:
            "../../scripts/plot_stems.py"


for run in RUNS:

    rule:
        """Draw extremes over batches against the epoch, and against the number of examples."""
        name:
            f"plot_extremes_{run}"
        input:
            extremal=f"results/{run}/tables/extremal_ritz_values.csv",
            shrinkage=f"results/{run}/tables/shrinkage.csv",
        output:
            boxplots=expand(
                f"results/{run}/figures/boxplot-{{end}}-{{size}}.{{suffix}}",
                size=batch_sizes(run),
                end=["largest", "smallest"],
                suffix=FORMATS,
            ),
            shrinkage=expand(
                f"results/{run}/figures/shrinkage.{{suffix}}", suffix=FORMATS
            ),
        log:
            f"results/{run}/logs/plot_extremes.log",
        conda:
            "../../envs/analysis.yaml"
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            batch_sizes=batch_sizes(run),
            formats=FORMATS,
            code=code("plot_extremes"),
        script:
            "../../scripts/plot_extremes.py"


rule plot_learning_curves:
    """Draw loss and accuracy against the epoch."""
    input:
        training="results/{run}/training.csv",
    output:
        figure=figure("learning_curves"),
    log:
        "results/{run}/logs/plot_learning_curves.log",
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("plot_learning_curves"),
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
    log:
        "results/{run}/logs/plot_theory.log",
    wildcard_constraints:
        run=one_of(WITH_PREDICTIONS),
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("plot_theory"),
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
    log:
        "results/logs/write_report.log",
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        runs=list(RUNS),
        results="results",
        code=code("write_report"),
    script:
        "../../scripts/write_report.py"
