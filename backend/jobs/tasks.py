"""Job handlers of the room jobs."""
