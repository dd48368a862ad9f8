"""Every option of every command, as --help all lists them, with values that are none: each is refused at once, by name. Usage: options.py INFOFLOW"""
import concurrent.futures, re, subprocess, sys

infoflow = sys.argv[1]
# Command lines to which nothing is wanting but a model that is there: what is wrong with an option is said before.
model = ["-m", "missing.gguf"]
commands = {
    "ingest": model + ["d.txt"], "ask": model + ["-q", "x", "d.txt"], "chat": model + ["d.txt"], "learn": model + ["d.txt"],
    "calibrate": model + ["d.txt"], "eval": model + ["-o", "o.jsonl", "d.jsonl"], "bench": model, "info": model, "methods": [],
    "store list": [], "store show": ["abcd"], "store verify": [], "store pin": ["abcd"], "store unpin": ["abcd"], "store delete": ["abcd"], "store prune": [],
}
nothing = ["", " "]
# Out of every range, not finite, other bases, signs, spaces, letters behind, other digits, commas and points of other countries.
numbers = nothing + [" 0.5", "0.5 ", "+0.5", "-0.5", "-1", "nan", "-nan", "inf", "-inf", "infinity", "1e999", "1e99", "0x10", "0x1p3", "0x.8p0", "0.5x", "0,5", ".", "e1", "1e",
                     "99999999999999999999999", "٣", "½", "1_000", "1'000", "half"]
whole = numbers + ["1.5", "1.0", "1e2", "1.", "18446744073709551617"]
lists = [v for v in numbers if "," not in v and v != "-1"] + [",", "0.5,", ",0.5", "0.5,,0.6", "0.5;0.6", "0.5, 0.6"]
sizes = [v for v in numbers if not re.fullmatch("9+", v)] + ["1e3", "1e3K", "0.5", "5.", ".5G", "1X", "1KiBs", "K", "1 K", "1K ", "99999999T", "1.5.5G"]
kinds = {
    "N": whole, "R": numbers, "C": numbers, "F": numbers, "P": numbers, "A": numbers, "T": numbers, "X": [v for v in numbers if v not in ("-0.5", "-1")] + ["-99", "--1", "- 1", "-", "0.5-"], "BYTES": sizes, "I/N": numbers + ["0/4", "5/4", "1/0", "1/", "/4", "-1/4", "1/4x", "1/4 ", "0x1/4"],
    "N,...": lists + ["512,", "63", "99999999", "512.5", "1e3"], "LENGTHS": lists + ["300,", "31", "99999999", "300.5", "3e2"], "PART,...": nothing + [",", "ttft,", ",ttft", "ttft ", "TTFT", "all"],
    "NAME": nothing + ["cpu ", "cpux", "gpu99", "0"],
    "FILE": [""], "FILE|none": [""], "MODEL": [""], "STORE": [""], "DIR": [""], "QUESTION": nothing, "PROFILE": [""], "TEXT": [],
}
of_option = {"stop": ["", "x" * 257], "methods": ["", " ", ",", "full,", ",full", "full,,none", "magic", "full ", "infoflow:", "infoflow:vatp+", "infoflow:fast", "infoflow:fillers=9", "infoflow:fillers=", "infoflow:fillers=0x1"]}
takes_no = ("", "1", "yes")


def options_of(command):
    """Pairs of a long name and what stands for its value (None: a flag)."""
    shown = subprocess.run([infoflow, *command.split(), "--help", "all"], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^  (?:-\w, |    )--([a-z-]+)(?: ([^ \n]+))?(?: |$)((?:.*\n {20}.*)*.*)$", shown, re.M)
    for i, (name, value, text) in enumerate(found):
        listed = re.search(r"One of:([^.]+)\.", text)
        found[i] = (name, re.sub(r",\s+", "|", listed[1].strip()) if listed else value or None)
    return [(name, value) for name, value in found if name != "help"]


def run(command, *arguments):
    return subprocess.run([infoflow, *command.split(), *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)


def refused(command, name, value):
    base = commands[command]
    if command == "eval" and name in ("needle", "depths", "repeat"):
        base = base[:-1] + (["--needle", "300"] if name != "needle" else [])
    got = run(command, *base, f"--{name}={value}")
    said = got.stderr
    wrong = [got.returncode != 2 and f"status {got.returncode}", f"--{name}" not in said and "no name", "missing.gguf" in said and "too late", f"infoflow {command} --help" not in said and "no way to help"]
    wrong = [w for w in wrong if w]
    return f"infoflow {command} --{name}={value!r}: {', '.join(wrong)}: {said!r}" if wrong else None


# What contradicts: both names are said.
contradictions = """
ask ingest chat learn calibrate | --whole --chunk 5
ask chat | --coverage 0.5 --ratio 0.2
ask chat eval | --min-ratio 0.1 | --coverage
ask chat eval | --max-ratio 0.1 | --coverage
ask chat eval | --coverage 0.5 --min-ratio 0.5 | --max-ratio 0.3
ask chat | --method full --reorder
ask chat | --method none --score vatp
ask chat | --method epic --geometry hl-hp
ask chat | --method random --score-layers 1
ask chat | --method staleness --score-text prompt
ask chat | --method full --ratio 0.2
ask chat | --method none --ratio 0.2
ask chat | --method epic --ratio 0.2
ask chat | --method full --coverage 0.2
ask chat | --method random --coverage 0.2
ask chat | --staleness-share 0.5 | --staleness-share union
ask chat | --method full --drift on
ask chat | --method none --drift on
ask chat | --method full --correction x.gguf
ask chat | --method full --verify 1
ask chat eval | --verify-min 0.5 | --verify
ask chat eval learn calibrate | --no-store --store s
ask chat eval learn calibrate | --no-store --max-size 1G
ask chat eval ingest learn calibrate bench info store-list | --quiet --verbose
ask chat eval ingest learn | --profile p --no-profile
store-show | --json --tokens
ask | --scores | --json
ask | --positions | --json
ask | --given g.json | --method given
eval | --methods full,none --reorder
eval | --methods none,epic --ratio 0.2
eval | --methods infoflow --coverage 0.5 --ratio 0.2
eval | --methods infoflow --staleness-share 0.5 | --staleness-share union
eval | --methods full --drift on
eval | --methods full --correction x.gguf
eval | --methods infoflow:fillers=0+fillers=2 | fillers=0 fillers=2
eval | --methods infoflow:fillers=1+fillers=2 | fillers=1 fillers=2
eval | --methods infoflow:vatp+mass | vatp mass
eval | --methods infoflow:hl-hp+hl-tp | hl-hp hl-tp
eval | --methods infoflow:drift+nodrift | drift nodrift
eval | --methods infoflow:corrected+uncorrected | corrected uncorrected
eval | --methods full:fillers=0 | fillers=0 full
eval | --methods none:reorder | reorder none
eval | --methods none:drift | drift none
eval | --methods epic:vatp | vatp epic
eval | --methods full:corrected | corrected full
eval | --methods full --verify 1 | --verify
eval | --system x | --system --protocol
bench | --only load --lengths 512
bench | --only load --svg x.svg
"""


def contradicted(command, arguments, names):
    got = run(command, *arguments, *commands[command])
    missing = [n for n in names if n not in got.stderr]
    if got.returncode != 2 or missing or "missing.gguf" in got.stderr:
        return f"infoflow {command} {' '.join(arguments)}: status {got.returncode}, not said: {missing}: {got.stderr!r}"


jobs, seen, n_options = [], set(), 0
for command in commands:
    for name, value in options_of(command):
        if value is None:
            jobs.append((refused, command, name, takes_no[len(jobs) % 3]))
            continue
        kind = of_option.get(name) or (nothing + ["magic", value.split("|")[0] + " ", value.split("|")[0].upper(), value.split("|")[0][:2], value, value[:-1]] if "|" in value and value != "FILE|none" else None)
        if kind is None and value == "LIST":
            kind = lists
        if kind is None and value not in kinds:
            sys.exit(f"infoflow {command} --help: --{name} takes '{value}', which this test does not know: say what it must refuse")
        kind = kinds[value] if kind is None else kind
        # The first option of a kind has all values; each other one some, different ones each time, so that no option is without.
        at, step = len(jobs), 4
        values = kind if id(kind) not in seen else [kind[(at + i * 5) % len(kind)] for i in range(min(step, len(kind)))]
        seen.add(id(kind))
        n_options += 1
        jobs += [(refused, command, name, v) for v in dict.fromkeys(values)]
for line in contradictions.strip().splitlines():
    of, arguments, *names = [part.strip() for part in line.split("|")]
    arguments = arguments.split()
    names = names[0].split() if names else [a for a in arguments if a.startswith("--") and a != "--methods"]
    jobs += [(contradicted, command.replace("-", " "), arguments, names) for command in of.split()]
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    wrong = [w for w in pool.map(lambda job: job[0](*job[1:]), jobs) if w]
print("\n".join(wrong[:40]), file=sys.stderr)
print(f"{len(jobs)} command lines, {n_options} options with values, {len(wrong)} wrong")
sys.exit(bool(wrong) or n_options < 100)
