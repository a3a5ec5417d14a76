"""`python -m hub` is `tocsin-hub`."""

from hub.cli import main

if __name__ == "__main__":
    main(prog_name="tocsin-hub")
