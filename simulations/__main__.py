"""`python -m simulations` is `bangpath simulate`."""

from simulations.command import main

if __name__ == "__main__":
    main()
