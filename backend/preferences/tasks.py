"""Job handlers of the room preferences."""
