"""What the trainer and the service agree on: snapshot, config, events, sampling, run folder, exit codes.

Nothing in this package imports torch or diffusers. It is all of the trainer that the service may import.
"""
