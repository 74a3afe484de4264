"""A real Kubernetes for the tests: three kind nodes, whether or not a container registry can be reached.

``python -m cluster`` says what it can do; ``docs/kind-without-registry.md`` says how it does it.
"""
