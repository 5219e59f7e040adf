"""Plain English text from manuals that Debian packages: to look facts up in, and to copy.

The packages (bookworm) are fetched and unpacked by hand or by `run.sh sources`; this turns their HTML into paragraphs.
"""

import glob
import gzip
import html
import json
import os
import random
import re

# package: where its pages lie below /usr/share when it is unpacked
PACKAGES = {
    "sqlite3-doc": "doc/sqlite3/**/*.html",
    "postgresql-doc-15": "doc/postgresql-doc-15/html/*.html",
    "python3.11-doc": "doc/python3.11/html/**/*.html",
    "apache2-doc": "doc/apache2-doc/manual/en/**/*.html",
    "debian-reference-en": "debian-reference/*.en.html",
    "rust-doc": "doc/rust-doc/html/book/**/*.html",
}
LONGEST_SOURCE_CHARACTERS = 6_000_000


def is_prose(line: str) -> bool:
    """An English sentence or more, in ASCII, mostly letters."""
    letters = sum(c.isalpha() or c == " " for c in line)
    return len(line) > 60 and line[-1] in ".:!?)" and letters > 0.88 * len(line) and line.isascii()


def paragraphs(page: str) -> list[str]:
    """English sentences of an HTML page: no code, no tables, no menus."""
    page = re.sub(r"(?is)<(script|style|head|nav|pre|table|svg)[^>]*>.*?</\1>", " ", page).replace("\n", " ")
    page = re.sub(r"(?is)</?(p|div|li|h\d|br|tr|dt|dd|ul|ol)[^>]*>", "\n", page)
    page = html.unescape(re.sub(r"(?s)<[^>]+>", "", page))
    found = []
    for line in page.split("\n"):
        line = " ".join(line.split())
        if is_prose(line):
            found.append(line)
    return found


def read(path: str) -> str:
    opened = gzip.open(path, "rt", errors="ignore") if path.endswith(".gz") else open(path, errors="ignore")
    with opened as file:
        return file.read()


def prepare(unpacked: str, out: str) -> None:
    """Writes `text.json.gz`, a shuffled list of documents, each a few paragraphs that stand together."""
    documents = []
    for package, pattern in PACKAGES.items():
        seen: set[str] = set()
        size = 0
        for path in sorted(glob.glob(f"{unpacked}/usr/share/{pattern}", recursive=True)):
            lines = [line for line in paragraphs(read(path)) if not (line in seen or seen.add(line))]
            if lines and size < LONGEST_SOURCE_CHARACTERS:
                documents.append("\n".join(lines))
                size += len(documents[-1])
        print(package, f"{size / 1e6:.1f} MB")
    random.Random(1).shuffle(documents)
    with open(os.path.join(out, "text.json.gz"), "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) as file:
        file.write(json.dumps(documents).encode())
