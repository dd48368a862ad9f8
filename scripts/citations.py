#!/usr/bin/env python3
"""Checks that what documents and sources cite is in the repository: links, their sections, and paths of files.

Usage: scripts/citations.py

Of the documents (*.md): relative links must lead to a file, and what stands after # to one of its sections. Of documents, sources and scripts: a
path that begins with a directory of this repository must be there, * standing for anything; a name that ends in .md must be some document's.
A word in capitals in a path (src/kv/store_NAME.c) is for the reader to fill in: such a path is not checked.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIRECTORIES = ("cmake", "docs", "examples", "include", "packaging", "scripts", "src", "tests")
SOURCES = ("src/", "include/", "scripts/", "cmake/", "examples/", "packaging/", "tests/CMakeLists.txt", "tests/reference/", "CMakeLists.txt", "Makefile")
PATH = re.compile(r"(?<![\w./{}$~-])(?:%s)/[\w./*-]*[\w*]" % "|".join(DIRECTORIES))
LINK = re.compile(r"\]\(([^)\s]+)\)")
DOCUMENT = re.compile(r"(?<![\w/.*-])[\w-]+\.md\b")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FOREIGN = ("src/models/",)  # of libllama's sources, which CONTRIBUTING.md names


def files_here():
    """Paths of files that are in the repository or will be: what git ignores is not. Without git, all but what builds leave."""
    try:
        listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True)
        found = listed.stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        found = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if not path.relative_to(ROOT).parts[0].startswith((".git", "build"))]
    return sorted(path for path in found if (ROOT / path).is_file())


def sections(text):
    """The anchors of a document's headings, as they are made where Markdown is shown."""
    found = set()
    for heading in re.findall(r"^#+ +(.*)$", FENCE.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", words).replace(" ", "-"))
    return found


def is_there(path):
    if path.startswith(FOREIGN) or (ROOT / path).exists():
        return True
    if re.search("[A-Z]{2,}", path) and not path.endswith(".md"):
        return True  # with a word to fill in
    return "*" in path and any(ROOT.glob(path))


def check_links(path, text, failures):
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, section = target.partition("#")
        to = (ROOT / path).parent / file if file else ROOT / path
        if not to.exists():
            failures.append(f"{path}: links to {target}, which is not there")
        elif section and section not in sections(to.read_text(encoding="utf-8")):
            failures.append(f"{path}: links to {target}: no such section")


def main():
    files = files_here()
    names = {pathlib.PurePosixPath(path).name for path in files}
    failures, n_checked = [], 0
    for path in files:
        document = path.endswith(".md")
        if not document and not path.startswith(SOURCES) or path == "scripts/citations.py":
            continue
        try:
            text = (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if document:
            check_links(path, text, failures)
        for cited in sorted(set(PATH.findall(text))):
            n_checked += 1
            if not is_there(cited):
                failures.append(f"{path}: names {cited}, which is not there")
        for cited in sorted(set(DOCUMENT.findall(text))):
            n_checked += 1
            if cited not in names:
                failures.append(f"{path}: names {cited}, which is no document of this repository")
    for failure in failures:
        print(failure)
    if not n_checked:
        failures.append("nothing was found to check")
    print(f"{n_checked} paths and names, {len(failures)} that are not there")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
