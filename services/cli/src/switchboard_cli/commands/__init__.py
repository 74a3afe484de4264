"""The commands of ``switchboard``, a module each for what they are about."""
