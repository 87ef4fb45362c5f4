"""The service: judgments in, preference datasets and tuned generators out."""
