"""Frames to one vector per environment."""
