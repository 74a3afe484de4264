"""The routes, one module for each domain; each has a ``router`` that ``switchboard_api.app`` includes."""
