"""`python -m flows.cli` is `active-zero`."""

from flows.cli.main import main

if __name__ == "__main__":
    main()
