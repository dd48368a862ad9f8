"""Chat on a terminal, as a user has it: what is typed goes to a pty, what comes back is looked at. Usage: chat_terminal.py INFOFLOW EDITS
EDITS: 1 if the build has libedit. The environment names model and store; a.txt is the document. State is kept in ./state."""
import os, pty, re, select, signal, stat, sys, termios, time

infoflow, edits = sys.argv[1], sys.argv[2] == "1"
LONG = int(os.environ.get("INFOFLOW_TEST_PATIENCE", "120"))  # seconds that anything may take under the sanitizers on a loaded machine
history = "state/infoflow/history"


class Chat:
    def __init__(self, *options, **environment):
        self.seen, self.at = b"", 0
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"XDG_STATE_HOME": os.path.abspath("state"), "TERM": "xterm", "LC_ALL": "C", **environment})
            os.execv(infoflow, [infoflow, "chat", "--max-tokens", "3", *options, "a.txt"])

    def type(self, keys):
        os.write(self.fd, keys if isinstance(keys, bytes) else keys.encode())

    def read(self, seconds):
        """Whether something came, or the end, within so many seconds."""
        if not select.select([self.fd], [], [], max(seconds, 0))[0]:
            return False
        try:
            got = os.read(self.fd, 65536)
        except OSError:
            got = b""
        self.seen += got
        return bool(got)

    def until(self, pattern, seconds=LONG):
        """Waits for a pattern in what came since the last one. The time that it took."""
        start = time.monotonic()
        while not (found := re.search(pattern.encode(), self.seen[self.at :])):
            if not self.read(start + seconds - time.monotonic()):
                sys.exit(f"no {pattern!r} within {seconds} s of: {self.seen[self.at:]!r}; before that: {self.seen[: self.at][-600:]!r}")
        self.at += found.end()
        return time.monotonic() - start

    def prompt(self, seconds=LONG):
        return self.until(r"> ", seconds)

    def leave(self):
        """Ctrl-D, at the prompt: elsewhere the terminal itself would take it for an end."""
        self.prompt()
        self.type("\x04")

    def end(self, status):
        start = time.monotonic()
        while time.monotonic() < start + LONG and self.read(start + LONG - time.monotonic()):
            pass
        if time.monotonic() >= start + LONG:
            os.kill(self.pid, signal.SIGKILL)
        modes = termios.tcgetattr(self.fd)[3]
        if not modes & termios.ICANON or not modes & termios.ECHO:
            sys.exit("the terminal was left without lines or without echo")
        got = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if got != status:
            sys.exit(f"status {got} instead of {status}: {self.seen[-600:]!r}")


def kept():
    if not os.path.exists(history):
        return []
    mode = stat.S_IMODE(os.stat(history).st_mode)
    if mode != 0o600:
        sys.exit(f"{history} has mode {mode:o}")
    with open(history, encoding="utf-8") as f:
        return f.read().splitlines()


def expect(what, got, wanted):
    if got != wanted:
        sys.exit(f"{what}: {got!r} instead of {wanted!r}")


# The first line says how to leave. Ctrl-C at the prompt drops the line, and nothing else, however often.
chat = Chat()
chat.until(r"/quit or Ctrl-D ends the chat; Ctrl-C stops an answer")
chat.prompt()
for _ in range(3):
    chat.type("Where is the shi")
    chat.until("Where is the shi")
    chat.type("\x03")
    took = chat.prompt()
    if took > 5:
        sys.exit(f"Ctrl-C at the prompt took {took:.1f} s")
chat.type("\x03\x03\x03")
chat.prompt()
chat.type("/stats\r")
chat.until("nothing was asked yet")
chat.prompt()
# A question is answered; what is said of it comes on the terminal, too.
chat.type("Où is the ship?\r")
chat.until(r"first token after")
chat.prompt()
if edits:
    # The arrow keys: to the left, and a letter put in; up, and the line again.
    chat.type("/hlp\x1b[D\x1b[De\r")
    chat.until(r"prepare the context anew")
    chat.prompt()
    chat.type("\x1b[A\r")
    chat.until(r"prepare the context anew")
    chat.prompt()
    # A character of several bytes is one: what deletes it deletes all of it.
    chat.type("/stoéé\x7f\x7f\x7fats\r")
    chat.until(r"to the first token")
    chat.prompt()
# A line that is no UTF-8 ends nothing. (libedit is not given the bytes.)
chat.type(b"/st\xffats\r")
chat.until(r"to the first token" if edits else r"not UTF-8")
chat.leave()
chat.end(0)
questions = [line for line in kept() if not line.startswith("/")]
expect("the history", questions, ["Où is the ship?"])

# Later chats know the line; one without a history does not, and keeps nothing.
chat = Chat()
chat.prompt()
if edits:
    chat.type("\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A\x1b[A\r")
    chat.until(r"first token after")
else:
    chat.type("Où is the ship?\r")
    chat.until(r"first token after")
chat.prompt()
chat.type("/quit\r")
chat.end(0)
expect("a line that comes again", [line for line in kept() if line.startswith("Où")], ["Où is the ship?"])
if "/quit" in kept():
    sys.exit("/quit is in the history")
before = kept()
chat = Chat("--no-history", "--quiet")
chat.prompt()
if b"Ctrl-D" in chat.seen:
    sys.exit("--quiet says how to leave")
chat.type("\x1b[A/stats\r" if edits else "/stats\r")
chat.until("nothing was asked yet")
chat.leave()
chat.end(0)
expect("--no-history", kept(), before)

# Many lines, and a file that is no history: the last 500 stay.
with open(history, "wb") as f:
    f.write(b"\xff\xfe\n\0\n" + b"".join(b"line %d\n" % i for i in range(600)))
os.chmod(history, 0o644)
chat = Chat()
chat.prompt()
chat.type("/help\r")
chat.until(r"prepare the context anew")
chat.leave()
chat.end(0)
expect("many lines", kept(), [f"line {i}" for i in range(101, 600)] + ["/help"])

# A place that cannot be written to is said once, and the chat goes on.
chat = Chat(XDG_STATE_HOME="/dev/null/state")
chat.prompt()
chat.type("/help\r")
chat.until(r"/dev/null/state")
chat.prompt()
chat.type("/help\r")
chat.until(r"prepare the context anew")
chat.leave()
chat.end(0)
if chat.seen.count(b"/dev/null/state") != 1:
    sys.exit("not said once: " + repr(chat.seen))

# Ctrl-C stops an answer, and the chat goes on; a terminal that knows no cursor has plain lines.
for terminal in ("xterm", "dumb"):
    chat = Chat("-n", "2000", "--ctx", "4000", TERM=terminal)
    chat.prompt()
    chat.type(b"/h\xffelp\xc3\r")
    chat.until(r"prepare the context anew" if terminal == "xterm" and edits else r"not UTF-8")
    chat.prompt()
    chat.type("Where is the ship?\r")
    chat.until(r"ship\?[^>]*\n[^>\[]")  # the answer has begun
    chat.type("\x03")
    chat.until(r"\[stopped\]")
    chat.prompt()
    chat.type("/help\r")
    chat.until(r"prepare the context anew")
    chat.leave()
    chat.end(0)

# It stops what comes before an answer as well, in the middle of a pass; the next question begins anew.
with open("a.txt", encoding="utf-8") as f:
    text = f.read()
with open("a.txt", "w", encoding="utf-8") as f:
    f.write(text * 150)
chat = Chat("--ctx", "100000", "--ubatch", "16384", "--whole", "--no-store", "--fillers", "0")
chat.prompt()
chat.type("Where is the ship?\r")
chat.until(r"ship\?\r\n")
time.sleep(0.3)
chat.type("\x03")
took = chat.until(r"\[stopped\]")
if took > 5:
    sys.exit(f"an answer that had not begun stopped after {took:.1f} s")
chat.leave()
chat.end(0)
with open("a.txt", "w", encoding="utf-8") as f:
    f.write(text)

# Signals that end the process do so at the prompt, and the terminal is as it was.
for number in (signal.SIGTERM, signal.SIGHUP):
    chat = Chat()
    chat.prompt()
    chat.type("half a lin")
    chat.until("half a lin")
    os.kill(chat.pid, number)
    chat.end(130)
