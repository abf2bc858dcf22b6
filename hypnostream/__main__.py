"""`python -m hypnostream` and the `hypnostream` command."""

import sys

from hypnostream.errors import UserError


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2."""
    from hypnostream.cli import app

    try:
        app()
    except (UserError, OSError) as error:  # what the system refuses (a full disk), a user can mend as well
        print(f"hypnostream: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
