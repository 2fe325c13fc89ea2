rule tabulate_extremal_ritz_values:
    """Collect the extremal Ritz values of all spectra of a run, and how they shrink with N."""
    input:
        spectra=lambda wildcards: spectra_of(wildcards.run),
        subsamples=lambda wildcards: subsamples_of(wildcards.run),
    output:
        extremal=table("extremal_ritz_values"),
        shrinkage=table("shrinkage"),
    log:
        "results/{run}/logs/tabulate_extremal_ritz_values.log",
    priority: 25
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code("tabulate_extremal_ritz_values"),
    script:
        "../run_stage.py"


rule tabulate_predictions:
    """Confront predictions with measurements, and estimate the true Hessian."""
    input:
        extremal="results/{run}/tables/extremal_ritz_values.csv",
        variance=lambda wildcards: per_epoch(
            "results/{run}/variance/{epoch}.csv", wildcards.run
        ),
        subspace=lambda wildcards: per_epoch(
            "results/{run}/variance/{epoch}.subspace.npz", wildcards.run
        ),
        held_out=lambda wildcards: per_epoch(
            "results/{run}/held_out/{epoch}.csv", wildcards.run
        ),
        full=lambda wildcards: per_epoch(
            "results/{run}/spectra/{epoch}/full.npz", wildcards.run
        ),
        batches=lambda wildcards: per_epoch(
            "results/{run}/spectra/{epoch}/{kind}-{size}.npz",
            wildcards.run,
            kind=["batch", "noise"],
            size=batch_sizes(wildcards.run),
        ),
        overlaps=lambda wildcards: (
            per_epoch("results/{run}/overlaps/{epoch}.csv", wildcards.run)
            if batch_sizes(wildcards.run)
            else []
        ),
        adaptive=lambda wildcards: (
            per_epoch("results/{run}/subspace/{epoch}.npz", wildcards.run)
            if wildcards.run in WITH_SUBSPACE
            else []
        ),
        parts=lambda wildcards: parts_of_examples(wildcards.run),
        test=lambda wildcards: per_epoch(
            "results/{run}/spectra/{epoch}/test.npz", wildcards.run
        ),
    output:
        outliers=table("outliers"),
        theory=table("theory_vs_empirical"),
        noise=table("noise"),
        scaling=table("noise_scaling"),
        true_hessian=table("true_hessian"),
    log:
        "results/{run}/logs/tabulate_predictions.log",
    wildcard_constraints:
        run=one_of(WITH_VARIANCE),
    priority: 25  # tables and figures wait for it
    conda:
        "../../envs/analysis.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        epochs=lambda wildcards: RUNS[wildcards.run].epochs,
        settings=settings("theory"),
        code=code("tabulate_predictions", *PREDICTIONS.values()),
    script:
        "../run_stage.py"
