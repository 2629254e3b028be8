"""Clusters and distances to kept frames, per configuration group."""
