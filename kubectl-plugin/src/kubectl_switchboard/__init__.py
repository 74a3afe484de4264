"""``kubectl switchboard``: what people ask of a Switchboard at three in the morning."""
