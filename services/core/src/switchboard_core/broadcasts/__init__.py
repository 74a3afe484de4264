"""Messages to many leads, by SMS or e-mail: each lead and each number once, and nobody who wants none."""
