"""Rule tabulate_checkpoints: loss and accuracy of each epoch in, one table out."""

from truehessian import stage, tables


def main(evaluations: list[str], *, checkpoints_out: list[str]) -> None:
    csv, tex, md = checkpoints_out
    frame = tables.read_epochs(evaluations).sort_values("epoch", ignore_index=True)
    tables.write(frame, csv, tex, md, caption="Loss and accuracy of the checkpoints")


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
