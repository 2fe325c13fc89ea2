# Figures and tables of the report that bring their own `make`, see truehessian.report.contents.
for run in RUNS:
    for content in catalogue.made_of(PLAIN_RUNS[run]):

        rule:
            """Make a figure, a table or both of files of a run."""
            name:
                f"make_{content.name}_{run}"
            input:
                files=[f"results/{run}/{name}" for name in inputs_of(content, run)],
            output:
                table=table_of(content.name, run),
                figures=figures_of(content.name, run),
            log:
                f"results/{run}/logs/make_{content.name}.log",
            priority: 15  # before spectra: somebody waits for the first figures
            conda:
                "../../envs/analysis.yaml"
            resources:
                mem_mb=1000,
                runtime=10,
            params:
                name=content.name,
                names=inputs_of(content, run),
                cases=cases_of(content, run),
                code=code("make_content", CONTENTS[content.name], *content.uses),
            script:
                "../run_stage.py"
