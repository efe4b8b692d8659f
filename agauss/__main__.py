"""`python -m agauss`: the command line; knows none of the commands."""

from agauss.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
