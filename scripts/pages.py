#!/usr/bin/env python3
"""Makes man pages from what --help says, and completions of shells from what `infoflow completion` says. Usage: pages.py INFOFLOW DIR

DIR/man/infoflow.1 has the commands, DIR/man/infoflow-COMMAND.1 a command (that of `store` all of its actions); DIR/infoflow.bash and
DIR/_infoflow are the completions."""
import re
import subprocess
import sys
from pathlib import Path

infoflow, out = sys.argv[1], Path(sys.argv[2])


def said(*arguments):
    return subprocess.run([infoflow, *arguments], capture_output=True, text=True, check=True).stdout


def escaped(text):
    """A line of text as troff takes it."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha").replace("`", "\\(ga")
    return "\\&" + text if text.startswith((".", "'")) else text


def paragraphs(lines):
    """Paragraphs of help; lines that begin with spaces stay lines of their own."""
    page, open_ = [], False
    for line in lines:
        if line.startswith("  "):
            page += [] if open_ else [".nf"]
            open_ = True
        elif open_:
            page.append(".fi")
            open_ = False
        page.append(escaped(line) if line else ".PP")
    return page + ([".fi"] if open_ else [])


def options(lines):
    """Rows of options: names in bold, the text after them."""
    page, text = [], []
    for line in lines:
        found = re.match(r"  (?:(-\w), |    )(--[a-z-]+)(?: (\S+))?(?: +(.*))?$", line)
        if found:
            letter, name, value, first = found.groups()
            names = [f"\\fB{escaped(n)}\\fR" for n in (letter, name) if n]
            page += text + [".TP", ", ".join(names) + (f" \\fI{escaped(value)}\\fR" if value else "")]
            text = [escaped(first)] if first else []
        elif line.strip():
            text.append(escaped(line.strip()))
    return page + text


def sections(help_):
    """The parts of a command's help: usage, what it is about, groups of options (name, lines), example."""
    lines = help_.rstrip("\n").split("\n")
    usage = lines[0].removeprefix("Usage: ")
    heads = [i for i, line in enumerate(lines) if re.fullmatch(r"[A-Z][A-Za-z ]*:", line)]
    about = lines[2 : heads[0]]
    while about and not about[-1]:
        about.pop()
    ends = heads[1:] + [len(lines)]
    groups = [(lines[h][:-1], lines[h + 1 : e]) for h, e in zip(heads, ends)]
    assert groups[-1][0] == "Example", help_
    return usage, about, groups[:-1], groups[-1][1]


def page_of(name, short, body):
    version = said("--version").strip()
    head = [f'.TH "{name.upper()}" "1" "" "{version}" "User Commands"', ".nh", ".ad l", ".SH NAME", f"{escaped(name)} \\- {escaped(short)}"]
    text = "\n".join(head + body) + "\n"
    (out / "man" / f"{name}.1").write_text(re.sub(r"(\.PP\n)+(?=\.SH|\.SS|\.PP)", "", text), encoding="utf-8")


def command_body(command, level):
    """What a page says of a command: as sections of its own, or within the section of an action."""
    usage, about, groups, example = sections(said(*command.split(), "--help", "all"))
    body = [".SH SYNOPSIS", escaped(usage), ".SH DESCRIPTION"] if level == ".SH" else [f".SS {escaped(command)}", escaped(usage), ".PP"]
    body += paragraphs(about)
    for name, lines in groups:
        body += [f'.SH "{name.upper()}"'] if level == ".SH" else [".PP"]
        body += options(lines)
    body += [".SH EXAMPLE"] if level == ".SH" else [".PP", "Example:", ".PP"]
    return body + [".nf", *map(escaped, example), ".fi"]


def listed(help_, head):
    """Pairs of a name and what it is about, below a heading."""
    block = help_.split(head + ":\n", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^  (\S+) +(.*)$", block, re.M)


(out / "man").mkdir(parents=True, exist_ok=True)
for old in (out / "man").glob("*.1"):
    old.unlink()
top = said("help")
commands = listed(top, "Commands")
lines = top.split("\n")
after = top.split("Commands:\n", 1)[1].split("\n\n", 1)[1].split("\nExample:\n")
body = [".SH SYNOPSIS", escaped(lines[0].removeprefix("Usage: ")), ".SH DESCRIPTION", escaped(lines[2]), ".SH COMMANDS"]
for name, about in commands:
    body += [".TP", f"\\fBinfoflow\\-{name}\\fR(1)", escaped(about)]
body += [".SH NOTES"] + [line for text in after[0].strip().split("\n") for line in (escaped(text), ".br")][:-1]
body += [".SH EXAMPLE", ".nf", *map(escaped, after[1].rstrip("\n").split("\n")), ".fi"]
page_of("infoflow", "answers over documents whose KV caches are computed once and reused", body)
for name, about in commands:
    also = [".SH SEE ALSO", "\\fBinfoflow\\fR(1)"]
    if name == "store":
        usage = said("store", "--help")
        body = [".SH SYNOPSIS", escaped(usage.split("\n")[0].removeprefix("Usage: ")), ".SH ACTIONS"]
        for action, _ in listed(usage, "Actions"):
            body += command_body(f"store {action}", ".SS")
        page_of("infoflow-store", about, body + also)
    else:
        page_of(f"infoflow-{name}", about, command_body(name, ".SH") + also)
(out / "infoflow.bash").write_text(said("completion", "bash"), encoding="utf-8")
(out / "_infoflow").write_text(said("completion", "zsh"), encoding="utf-8")
