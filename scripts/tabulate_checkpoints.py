"""Rule tabulate_checkpoints: loss and accuracy of each epoch in, one table out."""

from truehessian.pipeline import stage
from truehessian.report.tables import extremes


def main(evaluations: list[str], *, checkpoints_out: list[str]) -> None:
    csv, tex, md = checkpoints_out
    frame = extremes.read_epochs(evaluations).sort_values("epoch", ignore_index=True)
    extremes.write(frame, csv, tex, md, caption="Loss and accuracy of the checkpoints")


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
