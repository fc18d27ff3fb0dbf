"""Measurements, run by make bench; figures are compared within one run only."""
