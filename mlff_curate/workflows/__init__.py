"""Whole jobs, files in and files out: what the command line and Python users call."""
