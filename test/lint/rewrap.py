#!/usr/bin/env python3
"""rewrap.py - brings comments that are too wide back within the columns.  Called by `make format`.

usage: rewrap.py [--check] FILE...

clang-format would do it too, but runs lists together and breaks rulers.  Only what is too wide is touched: a
line of a block comment is broken and what is left over goes to the front of the line that continues it; a
ruler (/* ---- name ---- */) loses dashes; a comment behind code moves above its line, and so does one behind
the brace of an enum, which clang-format would take for a value.
"""

import re
import sys

COLUMNS = 100
RULER = re.compile(r"^(\s*/\* -{2,} .* )(-{4,})( \*/)$")
MARKER = re.compile(r"(\s*)([-*] |\d+[.)] |)")


def split(line, keep):
    """Cuts line at a blank so that its first part fits; keep: characters that must stay in it."""
    at = line.rfind(" ", keep, COLUMNS + 1)
    if at <= keep:
        return line, ""
    return line[:at].rstrip(), line[at:].strip()


def body_of(line):
    """(prefix up to the star, text behind it) of a line inside a block comment."""
    m = re.match(r"^(\s*)(/\*| \*)", line)
    return (m.group(), line[m.end():]) if m else ("", line)


def wrap_block(lines):
    """One block comment, as its lines, rewrapped."""
    out, queue = [], list(lines)
    indent = re.match(r"\s*", lines[0]).group()
    while queue:
        line = queue.pop(0)
        if len(line) <= COLUMNS:
            out.append(line)
            continue
        prefix, text = body_of(line)
        m = MARKER.match(text)
        hang = " " * len(m.group()) if m.group(2) else m.group(1)
        first, rest = split(line, len(prefix) + len(m.group()) + 1)
        out.append(first)
        if not rest:
            continue
        if rest == "*/":  # not alone: a word goes with it
            out[-1], word = first.rsplit(" ", 1)
            rest = word + " */"
        start = f"{indent} *{hang or ' '}"
        if queue and rest.endswith("*/") is False:
            _, following = body_of(queue[0])
            n = MARKER.match(following)
            new = rest[-1] in ".:" and re.match(r"\s*[A-Z][\w ,]{0,40}:", following)
            if (following.strip() not in ("", "/", "*/") and n.group(1) == (hang or " ")
                    and not n.group(2) and not new):
                queue[0] = start + rest + " " + following.strip()
                continue
        queue.insert(0, start + rest)
    return out


def rewrap(text):
    lines, out, i = text.split("\n"), [], 0
    while i < len(lines):
        line = lines[i]
        m = RULER.match(line)
        if m and len(line) > COLUMNS:
            line = m.group(1) + "-" * (COLUMNS - len(m.group(1)) - len(m.group(3))) + m.group(3)
        if re.match(r"\s*/\*", line):
            end = i
            while "*/" not in lines[end] and end + 1 < len(lines):
                end += 1
            block = [line] + lines[i + 1 : end + 1]
            out += wrap_block(block) if lines[end].rstrip().endswith("*/") else block
            i = end + 1
            continue
        behind = re.match(r"^(\s*)(\S.*?)\s*(/\* [^*]*\*/)$", line)
        code = behind.group(2) if behind else ""
        if behind and (re.match(r"enum .*\{$", code) or len(" ".join(behind.groups())) - 1 > COLUMNS):
            out += wrap_block([behind.group(1) + behind.group(3)])
            line = behind.group(1) + behind.group(2)
        out.append(line)
        i += 1
    return "\n".join(out)


def main():
    check = "--check" in sys.argv
    wide = 0
    for path in sys.argv[1:]:
        if path.startswith("--"):
            continue
        with open(path, encoding="utf-8") as f:
            text = f.read()
        new = rewrap(text)
        if new == text:
            continue
        wide += 1
        if check:
            print(f"{path}: comment too wide")
        else:
            with open(path, "w", encoding="utf-8") as f:
                f.write(new)
    return 1 if check and wide else 0


if __name__ == "__main__":
    sys.exit(main())
