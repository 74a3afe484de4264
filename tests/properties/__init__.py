"""Random walks over admission, slots and the state of calls, held against models: ``python -m properties``."""
