"""`python -m hmralign`: the command line, where the command `hmralign` is not on the path."""

import sys

from hmralign.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
