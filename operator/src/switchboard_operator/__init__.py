"""The operator: turns a ``Switchboard`` resource into a running, migrated and scaled Switchboard."""
