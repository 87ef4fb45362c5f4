"""Job handlers of the room training."""
