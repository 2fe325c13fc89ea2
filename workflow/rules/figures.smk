# One rule per run where the names of the figures depend on the run's batch sizes and factors.
for run in RUNS:

    rule:
        """Draw the Ritz values of all checkpoints with their weights."""
        name:
            f"plot_stems_{run}"
        input:
            full=per_epoch("results/{run}/spectra/{epoch}/full.npz", run),
            spectra=list(stems(run).values()),
        output:
            figures=in_formats(stems(run), run),
        log:
            f"results/{run}/logs/plot_stems.log",
        priority: 30  # the longest of the last jobs
        conda:
            "../../envs/analysis.yaml"
        resources:
            mem_mb=1000,
            runtime=30,
        params:
            formats=FORMATS,
            code=code("plot_stems"),
        script:
            "../run_stage.py"


for run in RUNS:

    rule:
        """Draw extremes over batches against the epoch, and against the number of examples."""
        name:
            f"plot_extremes_{run}"
        input:
            extremal=f"results/{run}/tables/extremal_ritz_values.csv",
            shrinkage=f"results/{run}/tables/shrinkage.csv",
        output:
            boxplots=figures_of("boxplot-largest", run)
            + figures_of("boxplot-smallest", run),
            shrinkage=figures_of("shrinkage", run),
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
            "../run_stage.py"


for run in WITH_VARIANCE:

    rule:
        """Draw variance, predictions against measurements, and estimates of the true Hessian."""
        name:
            f"plot_theory_{run}"
        input:
            variance=per_epoch("results/{run}/variance/{epoch}.csv", run),
            theory=f"results/{run}/tables/theory_vs_empirical.csv",
            true_hessian=f"results/{run}/tables/true_hessian.csv",
            outliers=f"results/{run}/tables/outliers.csv",
            noise=f"results/{run}/tables/noise.csv",
            scaling=f"results/{run}/tables/noise_scaling.csv",
            noise_spectra=noise_shown(run),
        output:
            variance=figures_of("variance", run),
            true_hessian=figures_of("true_hessian", run),
            theory=figures_of("theory_vs_empirical", run),
            distributions=figures_of("distributions", run),
            overlaps=figures_of("overlaps", run),
            noise=figures_of("noise", run),
        log:
            f"results/{run}/logs/plot_theory.log",
        conda:
            "../../envs/analysis.yaml"
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            code=code("plot_theory", *PREDICTIONS.values(), *ESTIMATORS.values()),
        script:
            "../run_stage.py"


rule write_report:
    """Put figures, tables and findings of all runs into one self-contained page."""
    input:
        files=contract_files,
        # One of each run: it says what the network and the data are.
        checkpoints=[
            f"results/{run}/checkpoints/{min(RUNS[run].epochs)}.safetensors"
            for run in RUNS
        ],
        templates=report_templates(),
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
        folders=expand("results/{run}", run=RUNS),
        code=code("write_report", *CONTENTS.values(), *PREDICTIONS.values()),
    script:
        "../run_stage.py"
