"""Writes a page that is made from something else, or says that it is not what it would be."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write_or_compare(page, text, source, check):
    """With UPDATE=1 writes the text. Else the page must be it: made from `source`, by the check of this name."""
    shown = page.relative_to(ROOT)
    if os.environ.get("UPDATE") == "1":
        page.write_text(text)
        print(f"wrote  {shown}")
    elif not page.is_file() or page.read_text() != text:
        sys.exit(f"FAILED {shown} is not what {source}; run UPDATE=1 hack/{check}")
    else:
        print(f"ok     {shown} is what {source}")
