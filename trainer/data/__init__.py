"""From a snapshot to the tensors of a step: reading, crops, encoding, order."""
