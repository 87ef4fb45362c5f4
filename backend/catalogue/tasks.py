"""Job handlers of the room catalogue."""
