"""What a run will cost, found by running its step on tensors without values: shapes are real, nothing is computed."""
