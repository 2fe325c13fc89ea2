"""Places from which a user's own weights are taken: one file for each, and its line here.

A place is an object with the methods of `place.Place`.
"""

from truehessian.registry import Registry

PLACES = Registry(
    "place of checkpoints", {"files": "truehessian.networks.places.files:FILES"}, own=True
)
