#!/usr/bin/env python3
"""Compares two builds of the command in turns on one machine: time to first token from a warm store, and peak memory.

    scripts/bench_pair.py BEFORE AFTER -m MODEL [-c 2048,8192] [--turns 5] [--methods infoflow,full,none] [-t THREADS]

BEFORE and AFTER are programs `infoflow`. Each has a store of its own, which one call fills before anything is measured. Then each turn asks
with the one and with the other, in changing order, each in a fresh process. Printed are medians, and the median and range of AFTER / BEFORE
turn by turn: on a machine with noise only the ratios mean anything."""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

WORDS = """river engine council paper winter harbour signal garden copper letter station market bridge treaty colony novel
theatre voyage valley museum satellite orchard lantern census railway fossil chapel harvest island quarry""".split()


def made_up(n_words: int) -> str:
    """Text that is the same on every machine."""
    state, out = 1, []
    for i in range(n_words):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        word = WORDS[(state >> 33) % len(WORDS)]
        out.append(word.capitalize() if i % 12 == 0 else word + ("." if i % 12 == 11 else ""))
        if i % 96 == 95:
            out.append("\n\n")
    return " ".join(out)


def ask(program: str, store: Path, args: argparse.Namespace, method: str, document: Path) -> tuple[float, float, int]:
    command = [program, "ask", "-m", args.model, "-s", str(store), "-q", "Which station is named last?", "--method", method, "-n", "1",
               "--json", "--quiet", "--no-profile", *(["-t", str(args.threads)] if args.threads else []), str(document)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {process.returncode}")
    answer = json.loads(out)
    return answer["timings_ms"]["ttft"], usage.ru_maxrss / 1024, answer["tokens"]["context"]


def fit(program: str, store: Path, args: argparse.Namespace, tokens: int, document: Path) -> int:
    """Writes a document of about that many tokens; its tokens as the program counts them. Fills the store."""
    n_words = tokens
    for _ in range(3):
        document.write_text(made_up(n_words))
        n = ask(program, store, args, "none", document)[2]
        if abs(n - tokens) <= tokens // 100:
            break
        n_words = n_words * tokens // n
    return n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-c", "--lengths", default="2048,8192")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--methods", default="infoflow,none,full")
    parser.add_argument("-t", "--threads", type=int, default=0)
    args = parser.parse_args()
    print(f"{Path(args.model).name}, {args.turns} turns, {time.strftime('%Y-%m-%d')}")
    print("| tokens | method | ttft before | after | ratio (range) | MiB before | after | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temp:
        programs = {"before": args.before, "after": args.after}
        stores = {side: Path(temp) / side for side in programs}
        for tokens in (int(n) for n in args.lengths.split(",")):
            document = Path(temp) / f"{tokens}.txt"
            n = fit(args.before, stores["before"], args, tokens, document)
            ask(args.after, stores["after"], args, "none", document)
            for method in args.methods.split(","):
                ms, mib = {s: [] for s in programs}, {s: [] for s in programs}
                for turn in range(args.turns):
                    for side in sorted(programs, reverse=turn % 2 == 0):
                        a, b, _ = ask(programs[side], stores[side], args, method, document)
                        ms[side].append(a)
                        mib[side].append(b)
                ratios = [a / b for a, b in zip(ms["after"], ms["before"])]
                m = {s: statistics.median(ms[s]) for s in programs}
                r = {s: statistics.median(mib[s]) for s in programs}
                print(f"| {n} | {method} | {m['before']:.0f} ms | {m['after']:.0f} ms | {statistics.median(ratios):.3f} ({min(ratios):.2f}-"
                      f"{max(ratios):.2f}) | {r['before']:.0f} | {r['after']:.0f} | {r['after'] / r['before']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
