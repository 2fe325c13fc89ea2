"""Rule tabulate_self_test: what subsamples show in, the errors of estimators out."""

from truehessian.report import plots
from truehessian.report.tables import extremes, truth
from truehessian.theory.estimates import guesses


def main(self_tests: list[str], *, table_out: list[str], figure_out: list[str]) -> None:
    frame = truth.self_test(guesses.tabulate(extremes.read_epochs(self_tests)))
    csv, tex, md = table_out
    extremes.write(frame, csv, tex, md, caption="Estimators of the true extremes, on a known truth")
    plots.save(plots.self_test(frame), figure_out, frame)
