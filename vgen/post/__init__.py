"""Corrections that need the whole shot: global numbers are reduced first, frames follow."""
