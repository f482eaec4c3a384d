"""Diffusion-based human mesh recovery that learns from preferences."""
__version__ = "0.1.0"
