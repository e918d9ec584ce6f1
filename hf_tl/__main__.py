"""`python -m hf_tl` is `hf-tl`."""

import os
import sys

# `-m` searches the current folder first, where anybody's torch.py may lie; only hf_tl's own folder may stay there.
if not sys.flags.safe_path and sys.path[0] not in ("", os.path.dirname(os.path.dirname(os.path.abspath(__file__)))):
    del sys.path[0]

from hf_tl.cli import main

sys.exit(main())
