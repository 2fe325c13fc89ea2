"""Rule write_report: figures, tables and metadata of all runs in, one self-contained page out."""

from pathlib import Path

from truehessian import report, stage


def main(
    files: list[str], templates: list[str], *, report_out: str, runs: list[str], results: str
) -> None:
    page = report.render(
        report.collect(results, runs, files),
        title="Spectra of sample Hessians",
        template_folder=Path(templates[0]).parent,
    )
    Path(report_out).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
