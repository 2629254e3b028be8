"""Quick linear force fields on descriptors: for checks and for proofs."""
