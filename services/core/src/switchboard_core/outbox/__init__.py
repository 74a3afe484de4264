"""Messages on their way out, mail and SMS: each is claimed before it leaves, so that none leaves twice."""
