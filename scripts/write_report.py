"""Rule write_report: figures, tables and metadata of all runs in, one self-contained page out."""

from pathlib import Path

from truehessian import report
from truehessian.pipeline import stage


def main(files: list[str], templates: list[str], *, report_out: str, folders: list[str]) -> None:
    runs = [Path(folder) for folder in folders]
    page = report.render(
        report.collect(runs[0].parent, [run.name for run in runs], files),
        title="Spectra of sample Hessians",
        template_folder=Path(templates[0]).parent,
    )
    Path(report_out).write_text(page, encoding="utf-8")


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
