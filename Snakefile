from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/spectra.smk"
include: "workflow/rules/operators.smk"
include: "workflow/rules/groups.smk"
include: "workflow/rules/batchnorm.smk"
include: "workflow/rules/self_test.smk"
include: "workflow/rules/variance.smk"
include: "workflow/rules/sharpness.smk"
include: "workflow/rules/influence.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/contents.smk"
include: "workflow/rules/papers.smk"
include: "workflow/rules/plan.smk"


wildcard_constraints:
    run=one_of(RUNS),
    epoch=r"\d+",


rule all:
    default_target: True
    input:
        "results/report.html",
        contract_files,
