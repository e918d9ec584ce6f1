"""`python -m hf_tl` is `hf-tl`."""

import sys

from hf_tl.cli import main

sys.exit(main())
