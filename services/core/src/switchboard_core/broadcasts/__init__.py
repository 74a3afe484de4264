"""Messages to many leads."""
