"""Messages on their way out: each is sent once, whatever happens in between."""
