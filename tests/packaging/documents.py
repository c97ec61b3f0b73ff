"""The documents as a reader sees them: blocks of code, and what is set as code within the text."""

import pathlib
import re

from harness import TOP

FENCE = re.compile(r"```(\w*)$")
SPAN = re.compile(r"`([^`\n]+)`")


class Block:
    """Lines of a document that are shown as they are: between fences, or indented by four."""

    def __init__(self, path, heading, number, line, language, text):
        self.path, self.heading, self.number, self.line = path, heading, number, line
        self.language, self.text = language, text

    @property
    def key(self):
        return self.path, self.heading, self.number

    def __repr__(self):
        return f"{self.path}:{self.line}"


def lines(path):
    """(number, kind, line) of a document: heading, fence, code, blank or text."""
    fenced, code, after_blank = False, False, True
    for number, line in enumerate(pathlib.Path(TOP / path).read_text().splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
            kind = "fence"
        elif fenced:
            kind = "code"
        elif not line.strip():
            kind = "blank"
        elif line.startswith("    ") and (code or after_blank):
            kind = "code"
            line = line[4:]
        else:
            kind = "heading" if line.startswith("#") else "text"
        if not fenced:
            code = kind == "code" or kind == "blank" and code
        after_blank = kind == "blank"
        yield number, kind, line


def blocks(path):
    heading, found, language, text, first = "", [], "", [], 0
    counts = {}

    def end():
        while text and not text[-1]:
            text.pop()
        if text:
            counts[heading] = counts.get(heading, 0) + 1
            found.append(Block(path, heading, counts[heading], first, language, "\n".join(text) + "\n"))
        text.clear()

    for number, kind, line in lines(path):
        if kind == "code" or kind == "blank" and text:
            first = first if text else number
            text.append(line)
            continue
        end()
        if kind == "fence":
            language = "" if language else FENCE.match(line).group(1) or "text"
        elif kind == "heading":
            heading = line.lstrip("#").strip()
    end()
    return found


def spans(path):
    """(line, text) of what is set in backquotes."""
    for number, kind, line in lines(path):
        if kind in ("text", "heading"):
            for m in SPAN.finditer(line):
                yield number, m.group(1)


READ = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "packaging/debian/README.Debian",
        *sorted(f"docs/{p.name}" for p in (TOP / "docs").glob("*.md"))]
