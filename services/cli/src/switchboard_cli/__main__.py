"""``python -m switchboard_cli`` is ``switchboard``, also where the console script is not on the PATH."""

from switchboard_cli.main import app

if __name__ == "__main__":
    app(prog_name="switchboard")
