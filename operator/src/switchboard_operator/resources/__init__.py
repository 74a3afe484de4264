"""Pure builders of the objects that a Switchboard consists of, one file per kind."""
