"""Settings, stages, the plan and the command line."""
