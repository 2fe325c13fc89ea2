"""Rule plot_boxplots: extremal Ritz values in, a box plot per batch size and end out."""

from truehessian import plots, stage, tables


def main(
    extremal: str, *, figures_out: list[str], batch_sizes: list[int], formats: list[str]
) -> None:
    frame = tables.read_extremal(extremal)
    panels = [(size, end) for size in batch_sizes for end in ("largest", "smallest")]
    for number, (size, end) in enumerate(panels):
        files = figures_out[number * len(formats) : (number + 1) * len(formats)]
        plots.save(plots.boxplot(frame, size, end), files)


if __name__ == "__main__":
    stage.run(main, snakemake, stored=False)
