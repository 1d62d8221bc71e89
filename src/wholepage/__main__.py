"""``python -m wholepage``: the command line."""

from __future__ import annotations

from wholepage.apps.cli import main

if __name__ == "__main__":
    main()
