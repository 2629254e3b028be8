"""Neighbour lists and sparse similarity graphs."""
