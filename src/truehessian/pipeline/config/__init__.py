"""The configuration: settings, defaults and checks."""
