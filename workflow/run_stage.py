"""The script of all rules: run the stage that a job belongs to.

What a stage does stands in `scripts/`, in the file that the parameter `code` of its rule names. It
is imported, and PyTorch with it, only if its results are not in the store.
"""

from truehessian.pipeline import stage

if __name__ == "__main__":
    stage.run(snakemake)
