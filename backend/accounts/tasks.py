"""Job handlers of the room accounts."""
