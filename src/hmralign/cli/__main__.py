"""`python -m hmralign.cli` does what `hmralign` does."""

import sys

from hmralign.cli.main import main

sys.exit(main())
