"""Job handlers of the room datasets."""
