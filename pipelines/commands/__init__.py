"""The commands of ``vgen``, by subject; ``pipelines.cli`` puts them together."""
