"""How the container images are built: ``python -m images``, which ``make images`` calls."""
