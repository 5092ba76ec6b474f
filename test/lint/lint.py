#!/usr/bin/env python3
"""lint.py - the house rules that a machine can check.

usage: lint.py [--root DIR] [FILE...]

Called by `make lint` and the pre-commit hook.  Prints `file:line: rule: text` per finding and exits 1 when
there is one.  Without FILE the whole tree is checked.  Exceptions stand in test/lint/allow.txt, one a line:

    PATH RULE [TEXT] -- reason

PATH is a file or a shell pattern, TEXT (optional) a part of the finding's text.  An exception without a
reason, or for a file that no longer needs it, is a finding itself.  Python's standard library only.
"""

import argparse
import fnmatch
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from c_source import Source  # noqa: E402

FUNCTION_LINES = 70
FILE_LINES = 600
TEST_FILE_LINES = 1000
PARAMETERS = 6
NESTING = 4
COGNITIVE = 25
COLUMNS = 100
INLINE_LINES = 5

PRODUCT = ("base", "protocol", "router", "cache", "proxy")
CORE = ("proxy", "router", "cache")
TEST = "test"

BANNED = {
    "strcpy": "str_copy", "strcat": "buf_put_text", "sprintf": "snprintf", "vsprintf": "vsnprintf",
    "gets": "read", "strtok": "str_cut", "atoi": "str_to_i64", "atol": "str_to_i64", "atoll": "str_to_i64",
}
MARKS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)) + r")\b")

LIBC = set(
    """alloca ctype dirent dlfcn endian errno execinfo fcntl float getopt glob grp ifaddrs inttypes langinfo
    limits locale malloc math netdb poll pthread pwd regex sched semaphore setjmp signal spawn stdalign
    stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings syslog termios
    threads time uchar unistd wchar wctype byteswap fnmatch sysexits""".split()
)
LIBC_FOLDERS = ("sys", "arpa", "net", "netinet", "linux", "bits")
# third-party header -> (folders that may include it, whether only one file in all may)
FENCES = (
    (re.compile(r"openssl/"), ("protocol/auth/", "proxy/"), False),
    (re.compile(r"pg_query(\.h$|/)"), ("protocol/sql/",), True),
    (re.compile(r"hiredis(\.h$|/)"), ("cache/",), True),
    (re.compile(r"ini\.h$"), ("proxy/config/",), True),
    (re.compile(r"libpq-fe\.h$"), ("proxy/ctl/",), True),
    (re.compile(r"curses\.h$"), ("proxy/ctl/",), True),
    (re.compile(r"microhttpd\.h$"), ("proxy/http/",), True),
    (re.compile(r"ev\.h$"), ("proxy/",), False),
    (re.compile(r"(ldap|lber)\.h$|security/"), ("proxy/",), False),
    (re.compile(r"cmocka\.h$"), ("test/",), False),
)
# folder -> patterns of what its files may include in quotes
ARROWS = {
    "base": [r"base/"],
    "protocol": [r"base/", r"protocol/"],
    "router": [r"base/", r"protocol/[^/]*\.h$", r"router/"],
    "cache": [r"base/", r"protocol/[^/]*\.h$", r"protocol/auth/digest\.h$", r"cache/"],
    "proxy": [r"base/", r"protocol/[^/]*\.h$", r"protocol/auth/", r"protocol/sql/sql_cache\.h$", r"router/",
              r"cache/", r"proxy/"],
}
SQLSTATE = re.compile(
    r"(0[1-9A-Z]|2[0-8BDF]|3[489BDF]|4[024]|5[34578]|72|F0|HV|P0|XX)[0-9A-Z]{3}"
)
SQL_START = re.compile(r"\s*((SET|SELECT|DISCARD|DEALLOCATE|BEGIN|ROLLBACK)\b|select )")
MESSAGE_BYTES = ("'Z'", "'Q'", "'T'", "'S'")


class Findings:
    """Collects findings and takes the allowed ones out."""

    def __init__(self):
        self.items = []
        self.allowed = []  # [pattern, rule, text, line in allow.txt, times used]

    def add(self, path, line, rule, text):
        for a in self.allowed:
            if fnmatch.fnmatch(path, a[0]) and a[1] == rule and a[2] in text:
                a[4] += 1
                return
        self.items.append((path, line, rule, text))

    def read_allow(self, root, name):
        try:
            with open(os.path.join(root, name), encoding="utf-8") as f:
                lines = f.read().splitlines()
        except FileNotFoundError:
            return
        for n, line in enumerate(lines, 1):
            if not line.strip() or line.startswith("#"):
                continue
            entry, dashes, reason = line.partition(" -- ")
            words = entry.split(None, 2)
            if not dashes or len(reason.strip()) < 10 or len(words) < 2:
                self.items.append((name, n, "allow-reason", f"wants PATH RULE [TEXT] -- reason: {line}"))
                continue
            self.allowed.append([words[0], words[1], words[2] if len(words) > 2 else "", n, 0])

    def check_unused(self, root, name):
        for pattern, rule, text, n, used in self.allowed:
            if used == 0 and not re.search(r"[*?\[]", pattern):
                what = "is not needed any more" if os.path.exists(os.path.join(root, pattern)) else "has no file"
                self.items.append((name, n, "allow-unused", f"{pattern} {rule} {text} {what}".rstrip()))


def top_of(path):
    return path.split("/", 1)[0]


# ---- text of any file ------------------------------------------------------------------------------

def check_text(path, text, out):
    lines = text.splitlines()
    is_c = path.endswith((".c", ".h"))
    for n, line in enumerate(lines, 1):
        m = MARKS.search(line)
        if m:
            out.add(path, n, "mark", f"{m.group()} has no place here: write an issue")
        if is_c and len(line) > COLUMNS:
            out.add(path, n, "columns", f"{len(line)} columns, at most {COLUMNS}")
        if is_c and "\t" in line:
            out.add(path, n, "tab", "tab character")
        if line != line.rstrip():
            out.add(path, n, "blank", "blank at the end of the line")
    if is_c:
        limit = TEST_FILE_LINES if top_of(path) == TEST else FILE_LINES
        if len(lines) > limit:
            out.add(path, len(lines), "file-length", f"{len(lines)} lines, at most {limit}")
        if not text.startswith("/*"):
            out.add(path, 1, "head", "the file must begin with a comment that says what it is for")


# ---- includes --------------------------------------------------------------------------------------

def includes_of(src):
    for line, text in src.directives:
        m = re.match(r'#\s*include\s*([<"])([^>"]+)[>"]', text)
        if m:
            yield line, m.group(1) == '"', m.group(2)


def check_quoted(path, line, name, root, out):
    if not os.path.isfile(os.path.join(root, name)) or "/" not in name:
        out.add(path, line, "include-root", f'"{name}" is not a path from the root')
        return
    allowed = ARROWS.get(top_of(path))
    if allowed is not None and not any(re.match(a, name) for a in allowed):
        out.add(path, line, "layer", f'{top_of(path)} may not include "{name}"')


def check_angled(path, line, name, fences, out):
    for i, (pattern, folders, single) in enumerate(FENCES):
        if not pattern.match(name):
            continue
        if top_of(path) == TEST:
            return
        if not path.startswith(folders):
            out.add(path, line, "layer", f"<{name}> may be included only in {' '.join(folders)}")
        elif single:
            fences.setdefault(i, {}).setdefault(path, (line, name))
        return
    stem = name[:-2] if name.endswith(".h") else name
    if stem == "assert":
        return  # its own rule
    if stem not in LIBC and name.split("/")[0] not in LIBC_FOLDERS:
        out.add(path, line, "layer", f"<{name}> is neither libc nor a library with a fence in lint.py")


def check_includes(path, src, root, fences, out):
    first = True
    for line, quoted, name in includes_of(src):
        if first and path != "base/base.h" and not quoted:
            out.add(path, line, "include-first", f"base/base.h comes first, not <{name}>")
        first = False
        if quoted:
            check_quoted(path, line, name, root, out)
        else:
            check_angled(path, line, name, fences, out)


def check_fences(fences, out):
    """Whole-tree part: a fenced library has one file."""
    for users in fences.values():
        for path, (line, name) in sorted(users.items())[1:]:
            other = sorted(users)[0]
            out.add(path, line, "fence", f"<{name}> belongs to one file, and {other} has it")


def check_cycles(graph, out):
    """Headers must not include each other in a ring."""
    done, stack = set(), []

    def visit(path):
        if path in stack:
            ring = stack[stack.index(path):] + [path]
            out.add(path, 1, "cycle", " -> ".join(ring))
            return
        if path in done:
            return
        stack.append(path)
        for name in graph.get(path, ()):
            visit(name)
        stack.pop()
        done.add(path)

    for path in sorted(graph):
        visit(path)


# ---- functions and declarations --------------------------------------------------------------------

def check_functions(path, src, out):
    for f in src.functions:
        length = f.end - f.line + 1
        if length > FUNCTION_LINES:
            out.add(path, f.line, "function-length", f"{f.name}: {length} lines, at most {FUNCTION_LINES}")
        if f.nesting > NESTING:
            out.add(path, f.line, "nesting", f"{f.name}: {f.nesting} levels, at most {NESTING}")
        if f.cognitive > COGNITIVE:
            out.add(path, f.line, "cognitive", f"{f.name}: complexity {f.cognitive}, at most {COGNITIVE}")
        inside = f.end - f.body[0].line - 1
        if path.endswith(".h") and top_of(path) != TEST and inside > INLINE_LINES:
            out.add(path, f.line, "inline", f"{f.name}: {inside} lines in a header, at most {INLINE_LINES}")
    named = [(f.name, f.line, f.params) for f in src.functions] + src.prototypes
    for name, line, params in named:
        if params > PARAMETERS:
            out.add(path, line, "parameters", f"{name}: {params} parameters, at most {PARAMETERS}")


def check_declarations(path, src, out):
    for name, line in src.typedefs:
        if name != "usec_t":
            out.add(path, line, "typedef", f"{name}: structures and enums are named as such")
    if path == "proxy/main.c":
        return
    for name, line, mutable, is_extern in src.variables:
        if mutable:
            what = "extern" if is_extern else "variable"
            out.add(path, line, "global", f"{name}: mutable {what} of static life outside proxy/main.c")


def check_calls(path, src, out):
    toks = src.tokens
    for a, b in zip(toks, toks[1:]):
        if a.kind == "ident" and b.text == "(":
            check_call(path, a.line, a.text, out)
    for line, text in src.directives:
        if re.match(r"#\s*include\s*<assert\.h>", text) and top_of(path) != TEST:
            out.add(path, line, "assert", "assert.h: a bug is a CHECK")
        for m in re.finditer(r"\b([a-z]+)\s*\(", text if text.startswith("#define") else ""):
            check_call(path, line, m.group(1), out)


def check_call(path, line, name, out):
    if name in BANNED:
        out.add(path, line, "banned", f"{name}: use {BANNED[name]}")
    if name == "assert" and top_of(path) != TEST:
        out.add(path, line, "assert", "assert: a bug is a CHECK, what comes from outside is a status")


# ---- no word of PostgreSQL in the core -------------------------------------------------------------

def check_wire_literals(path, src, out):
    toks = src.tokens
    for i, t in enumerate(toks):
        if t.kind == "char" and t.text in MESSAGE_BYTES:
            around = {toks[i - 1].text if i else "", toks[i + 1].text if i + 1 < len(toks) else ""}
            if around & {"case", "==", "!="}:
                out.add(path, t.line, "wire-literal", f"{t.text} looks like a message byte")
        if t.kind == "string":
            body = t.text[t.text.index('"') + 1 : -1]
            if SQLSTATE.fullmatch(body):
                out.add(path, t.line, "wire-literal", f"{t.text} looks like an SQLSTATE")
            if SQL_START.match(body):
                out.add(path, t.line, "wire-literal", f"{t.text[:40]} looks like SQL")


# ---- the run ---------------------------------------------------------------------------------------

def list_files(root):
    for folder, names, files in os.walk(root):
        rel = os.path.relpath(folder, root).replace(os.sep, "/")
        names[:] = sorted(
            n for n in names
            if n not in (".git", "node_modules", "__pycache__", "corpus") and not (rel == "." and
                                                                                   n.startswith("build"))
        )
        for name in sorted(files):
            path = name if rel == "." else f"{rel}/{name}"
            if name.endswith((".c", ".h", ".py", ".sh")) or name == "Makefile":
                yield path


def check_file(path, text, root, fences, out):
    """All rules for one file; returns its quoted includes for the whole-tree rules."""
    check_text(path, text, out)
    if not path.endswith((".c", ".h")):
        return []
    src = Source(text)
    check_includes(path, src, root, fences, out)
    check_functions(path, src, out)
    check_calls(path, src, out)
    if top_of(path) in PRODUCT:
        check_declarations(path, src, out)
    if top_of(path) in CORE:
        check_wire_literals(path, src, out)
    return [name for _, quoted, name in includes_of(src) if quoted]


def run(root, files=None):
    out, fences, graph = Findings(), {}, {}
    out.read_allow(root, "test/lint/allow.txt")
    for path in list_files(root) if not files else files:
        try:
            with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
                text = f.read()
        except (FileNotFoundError, IsADirectoryError):
            continue  # gone since it was listed
        names = check_file(path, text, root, fences, out)
        if path.endswith(".h"):
            graph[path] = names
    if not files:
        check_fences(fences, out)
        check_cycles(graph, out)
        out.check_unused(root, "test/lint/allow.txt")
    return sorted(out.items)


def main():
    args = argparse.ArgumentParser(description="checks the house rules")
    args.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    args.add_argument("files", nargs="*", help="paths from the root; default: all")
    opts = args.parse_args()
    items = run(os.path.abspath(opts.root), opts.files)
    for path, line, rule, text in items:
        print(f"{path}:{line}: {rule}: {text}")
    if items:
        print(f"lint: {len(items)} findings", file=sys.stderr)
    return 1 if items else 0


if __name__ == "__main__":
    sys.exit(main())
