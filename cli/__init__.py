"""The command line: one module per sub-command; parse, call, print."""
