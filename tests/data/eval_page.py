"""Reads a page of `infoflow eval --report`, and fails where it is not well-formed, loads something, or draws outside of a chart."""
import html.parser
import json
import math
import re

VOID = {"meta", "input", "br"}


class Page(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.text = open(path, encoding="utf-8", errors="strict").read()
        self.open, self.tables, self.questions, self.scripts, self.maps, self.figures = [], [], [], [], 0, []
        self.heading, self.visible = "", ""
        self.feed(self.text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        css = (a.get("class") or "").split()
        assert not {"src", "href", "onclick", "onload", "onerror", "srcset", "action"} & set(a), (tag, a)
        assert tag not in ("link", "iframe", "img", "object", "embed", "base", "form"), tag
        if tag == "svg":
            self.box = [float(v) for v in a["viewbox"].split()]
        if tag in ("circle", "rect", "path", "text") and "transform" not in a and self.box[2] > 100:
            self.check_inside(tag, a)
        if tag == "table":
            self.tables.append([])
            self.maps += "map" in css
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag == "details":
            self.questions.append({"css": css, "summary": "", "text": "", "table": len(self.tables), "picture": None})
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open, self.getpos())
        self.open.pop()
        if tag == "script" and "details" in self.open:
            self.questions[-1]["picture"] = json.loads(self.scripts[-1])

    def handle_data(self, data):
        if "script" in self.open:
            self.scripts[-1] += data
            return
        if "style" in self.open:
            assert "url(" not in data and "@import" not in data
            return
        self.visible += data
        if "h1" in self.open:
            self.heading += data
        if "summary" in self.open and "span" in self.open:
            self.questions[-1]["summary"] += data
        if "details" in self.open:
            self.questions[-1]["text"] += data
        if ("td" in self.open or "th" in self.open) and "small" not in self.open:
            self.tables[-1][-1][-1] += data
        if "figcaption" in self.open and "span" not in self.open:
            self.figures.append(data.strip())

    def check_inside(self, tag, a):
        """Where marks, bars, lines and labels begin and go."""
        points = []
        if tag == "circle":
            points.append((float(a["cx"]), float(a["cy"])))
        elif tag == "path":
            x = y = 0.0
            for letter, rest in re.findall(r"([A-Za-z])([^A-Za-z]*)", a["d"]):
                v = [float(n) for n in re.findall(r"-?[\d.]+", rest)]
                if letter in "ML":
                    x, y = v
                elif letter in "ml":
                    x, y = x + v[0], y + v[1]
                elif letter in "Hh":
                    x = v[0] + (x if letter == "h" else 0)
                elif letter in "Vv":
                    y = v[0] + (y if letter == "v" else 0)
                else:
                    assert letter in "zZ", a
                points.append((x, y))
        else:
            x, y = float(a.get("x", 0)), float(a.get("y", 0))
            points.append((x, y))
            if tag == "rect":
                assert float(a["width"]) >= 0 and float(a["height"]) >= 0, a
                points.append((x + float(a["width"]), y + float(a["height"])))
        for x, y in points:
            assert math.isfinite(x) and math.isfinite(y) and -1 <= x <= self.box[2] + 1 and -1 <= y <= self.box[3] + 1, (tag, a, self.box)


def selected(picture, series):
    """Pieces that a series recomputed."""
    runs, out, at = picture["v"][series]["s"], [], 0
    for gap, length in zip(runs[::2], runs[1::2]):
        out += range(at + gap, at + gap + length)
        at += gap + length
    return out
