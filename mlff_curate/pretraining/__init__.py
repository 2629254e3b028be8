"""Encoders that learn from frames without labels: tasks, training, representations."""
