"""``python -m clebsch.cli`` is ``clebsch``."""

from clebsch.cli import main

if __name__ == "__main__":
    main()
