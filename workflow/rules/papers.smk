# One target for each item of the two papers, of all runs that have what it needs; where there are
# runs of the paper's network, of these. What an item shows is said in truehessian.report.papers.coverage.
for run in RUNS:

    rule:
        """Set the numbers of a run beside published ones, and make tables as papers print them."""
        name:
            f"tabulate_papers_{run}"
        input:
            extremal=f"results/{run}/tables/extremal_ritz_values.csv",
            theory=(
                [f"results/{run}/tables/theory_vs_empirical.csv"]
                if table_of("batch_predictions", run)
                else []
            ),
            variance=(
                per_epoch("results/{run}/variance/{epoch}.csv", run)
                if run in WITH_VARIANCE
                else []
            ),
            full=per_epoch("results/{run}/spectra/{epoch}/full.npz", run),
            published=package_data("report/papers/published.csv"),
        output:
            papers=expand(table("papers"), run=run),
            augmentation=table_of("augmentation", run),
            predictions=table_of("batch_predictions", run),
        log:
            f"results/{run}/logs/tabulate_papers.log",
        conda:
            "../../envs/analysis.yaml"
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            dataset=RUNS[run].dataset.name,
            model=RUNS[run].settings("model"),
            code=code("tabulate_papers"),
        script:
            "../run_stage.py"


rule minibatch_fig_1_2:
    """Mini-batch paper, Figures 1 and 2: spectra of all the data and of a batch, VGG16."""
    input:
        item("minibatch_fig_1_2"),


rule minibatch_fig_3_4:
    """Mini-batch paper, Figures 3 and 4: variance of the Hessian's elements against the epoch."""
    input:
        item("minibatch_fig_3_4"),


rule minibatch_fig_5_6:
    """Mini-batch paper, Figures 5 and 6: spectra of all the data and of a batch, PreResNet110."""
    input:
        item("minibatch_fig_5_6"),


rule minibatch_eq_7_9:
    """Mini-batch paper, Equations 7 to 9: extremes of batches, bound, prediction and variance."""
    input:
        item("minibatch_eq_7_9"),


rule truehessian_fig_1_2:
    """True-Hessian paper, Figures 1 and 2: extremes of five subsamples against the epoch."""
    input:
        item("truehessian_fig_1_2"),


rule truehessian_fig_3_6:
    """True-Hessian paper, Figures 3 to 6: spectra of all the data and of augmented data."""
    input:
        item("truehessian_fig_3_6"),


rule truehessian_tables_1_3:
    """True-Hessian paper, Tables 1 to 3: extremes by the number of augmented examples."""
    input:
        item("truehessian_tables_1_3"),


rule truehessian_eq_18:
    """True-Hessian paper, Equation 18: true and empirical eigenvalues."""
    input:
        item("truehessian_eq_18"),


rule truehessian_sec_6_1:
    """True-Hessian paper, Section 6.1: are negative eigenvalues inherent to the true Hessian."""
    input:
        item("truehessian_sec_6_1"),


rule minibatch_figures:
    """Everything of the mini-batch paper that the runs have, and published numbers beside theirs."""
    input:
        item("minibatch_figures"),


rule truehessian_figures:
    """Everything of the true-Hessian paper that the runs have, and published numbers beside theirs."""
    input:
        item("truehessian_figures"),


rule papers:
    """Everything of both papers that the runs have, and published numbers beside theirs."""
    input:
        item("papers"),
