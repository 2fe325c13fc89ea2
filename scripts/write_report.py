"""Rule write_report: figures, tables and metadata of all runs in, one self-contained page out."""

from pathlib import Path

from truehessian import report


def main(
    files: list[str],
    checkpoints: list[str],
    templates: list[str],
    *,
    report_out: str,
    folders: list[str],
) -> None:
    runs = [Path(folder) for folder in folders]
    page = report.render(
        report.collect(runs[0].parent, [run.name for run in runs], [*files, *checkpoints]),
        title="Spectra of sample Hessians",
        template_folder=Path(templates[0]).parent,
    )
    Path(report_out).write_text(page, encoding="utf-8")
