"""Prune piles of atomistic frames to the smallest set that trains the same force field."""

__version__ = "0.1.0"
