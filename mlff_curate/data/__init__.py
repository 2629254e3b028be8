"""Frames in and out: readers, writers, example data."""
