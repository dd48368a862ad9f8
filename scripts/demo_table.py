"""Prints answers of `infoflow ask --json` with their times to first token: one question, or (--summary) all of them."""

import json
import sys


def load(path: str) -> dict:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def show(answers: list[dict]) -> None:
    print(answers[0]["question"])
    for a in answers:
        tokens = a["tokens"]
        print(
            f"  {a['method']:<9} first token {a['timings_ms']['ttft']:7.0f} ms   {tokens['recomputed']:5} of {tokens['context']} tokens"
            f" computed   {' '.join(a['answer'].split())}"
        )
    print(flush=True)


def summarise(answers: list[dict]) -> None:
    mean = {}
    for method in ("infoflow", "full"):
        times = [a["timings_ms"]["ttft"] for a in answers if a["method"] == method]
        mean[method] = sum(times) / len(times)
    n = len(answers) // len(mean)
    print(
        f"Time to first token, mean of {n} questions: infoflow {mean['infoflow']:.0f} ms, full prefill {mean['full']:.0f} ms:"
        f" {mean['full'] / mean['infoflow']:.1f} times faster"
    )


if __name__ == "__main__":
    if sys.argv[1] == "--summary":
        summarise([load(path) for path in sys.argv[2:]])
    else:
        show([load(path) for path in sys.argv[1:]])
