"""`python -m segidx.cli`, the same as `segidx`."""

from segidx.cli.main import main

if __name__ == "__main__":
    main()
