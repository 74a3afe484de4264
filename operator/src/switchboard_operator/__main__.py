"""``python -m switchboard_operator``."""

from switchboard_operator.main import main

main()
