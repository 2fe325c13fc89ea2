"""Training by keyword arguments alone, for tests that change one of them at a time."""

from dataclasses import fields

from truehessian.networks import training


def train(model, dataset, **settings):
    names = {field.name for field in fields(training.Recipe)}
    recipe = training.Recipe(**{name: settings.pop(name) for name in names & settings.keys()})
    return training.train(model, dataset, recipe, **settings)
