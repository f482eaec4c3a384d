"""Protocols of published evaluations, and the figures that were published under them, as data."""
