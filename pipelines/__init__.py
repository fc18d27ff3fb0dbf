"""Orchestration on Ray, and the command line."""
