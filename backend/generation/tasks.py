"""Job handlers of the room generation."""
