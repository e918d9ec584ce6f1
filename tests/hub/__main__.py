"""`python -m tests.hub --port 8900 --dir DIR`: the test Hub by hand.

Then, in another shell: `export HF_ENDPOINT=http://127.0.0.1:8900 HF_TOKEN=hf_test_alice HF_HUB_DISABLE_XET=1` (or 0
with --xet).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from tests.hub.app import Hub, make_app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--xet", action="store_true", help="take uploads through Xet's client, too")
    options = parser.parse_args()
    url = f"http://127.0.0.1:{options.port}"
    print(f"export HF_ENDPOINT={url} HF_TOKEN=hf_test_alice HF_HUB_DISABLE_XET={int(not options.xet)}", flush=True)
    uvicorn.run(make_app(Hub(options.dir, url, options.xet)), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
