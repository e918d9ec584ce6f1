"""The Hub: `client.py` reads from it, `upload.py` is the one door for writing to it."""
