"""From a network, its weights, data and loss to a configuration, without an editor."""
