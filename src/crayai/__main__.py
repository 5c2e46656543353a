"""``python -m crayai`` is the command ``crayai``."""

from crayai.cli.main import main

if __name__ == "__main__":
    main()
