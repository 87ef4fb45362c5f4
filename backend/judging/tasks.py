"""Job handlers of the room judging."""
