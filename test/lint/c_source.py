"""c_source.py - reads a C file well enough to measure it.

Used by lint.py.  Not a compiler: it cuts text into tokens, takes preprocessor lines out, finds the
declarations at file scope and walks the statements of each function.  Macros are not expanded; a macro that
looks like a loop (NAME_EACH(...) before a statement) is walked as one.
"""

import re

TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*)
      | (?P<string>(?:u8|[uUL])?"(?:\\.|[^"\\\n])*")
      | (?P<char>[uUL]?'(?:\\.|[^'\\\n])*')
      | (?P<ident>[A-Za-z_]\w*)
      | (?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)
      | (?P<op>\.\.\.|<<=|>>=|->|\+\+|--|<<|>>|[<>=!]=|&&|\|\||[-+*/%&|^]=|\#\#|[^\s\w])
      | (?P<newline>\n)""",
    re.X | re.S,
)

LOOPS = ("for", "while", "switch")
OPEN, CLOSE = "([{", ")]}"


class Token:
    """kind is one of string, char, ident, number, op."""

    __slots__ = ("kind", "text", "line")

    def __init__(self, kind, text, line):
        self.kind, self.text, self.line = kind, text, line

    def __repr__(self):
        return f"{self.text}@{self.line}"


class Function:
    """A definition: where it is, its parameters, and what its body measures."""

    def __init__(self, name, line, params, static):
        self.name, self.line, self.params, self.static = name, line, params, static
        self.end = line
        self.nesting = 0
        self.cognitive = 0
        self.body = []


class Source:
    """Tokens, directives, functions, prototypes and variables of one file."""

    def __init__(self, text):
        self.text = text
        self.tokens = []
        self.directives = []  # (line, text with continuations joined)
        self.comments = []  # (line, text)
        self.functions = []
        self.prototypes = []  # (name, line, params)
        self.variables = []  # (name, line, mutable, is_extern)
        self.typedefs = []  # (name, line)
        self._tokenize()
        self._file_scope()

    # ---- tokens ----------------------------------------------------------------------------------

    def _tokenize(self):
        text, line, at, fresh = self.text, 1, 0, True
        while at < len(text):
            if fresh and (m := re.compile(r"[ \t]*#").match(text, at)):
                at, line = self._directive(at, line)
                continue
            m = TOKEN.match(text, at)
            if m is None:  # blank
                at += 1
                continue
            kind, piece = m.lastgroup, m.group()
            if kind == "newline":
                fresh = True
            elif kind == "comment":
                self.comments.append((line, piece))
            else:
                fresh = False
                self.tokens.append(Token(kind, piece, line))
            line += piece.count("\n")
            at = m.end()

    def _directive(self, at, line):
        """One preprocessor line; a comment in it may run over several lines."""
        start, text = line, self.text
        out = []
        while at < len(text) and text[at] != "\n":
            if text.startswith("\\\n", at):
                out.append(" ")
                at, line = at + 2, line + 1
            elif text.startswith("//", at) or text.startswith("/*", at):
                m = TOKEN.match(text, at)
                piece = m.group() if m else text[at : at + 2]
                self.comments.append((line, piece))
                line += piece.count("\n")
                at += len(piece)
            elif text[at] in "\"'" and (m := TOKEN.match(text, at)) and m.lastgroup != "op":
                out.append(m.group())
                at = m.end()
            else:
                out.append(text[at])
                at += 1
        self.directives.append((start, "".join(out).strip()))
        return at, line

    # ---- file scope ------------------------------------------------------------------------------

    def match(self, i):
        """Index of the token that closes the bracket at i."""
        depth = 0
        for j in range(i, len(self.tokens)):
            t = self.tokens[j]
            if t.kind == "op" and t.text in OPEN:
                depth += 1
            elif t.kind == "op" and t.text in CLOSE:
                depth -= 1
                if depth == 0:
                    return j
        return len(self.tokens) - 1

    def _file_scope(self):
        toks, i = self.tokens, 0
        while i < len(toks):
            start = i
            while i < len(toks) and toks[i].text != ";":
                if toks[i].text == "{":
                    header = self._function_header(start, i)
                    i = self.match(i)
                    if header is not None:
                        self._function(header, i)
                        break
                elif toks[i].text in OPEN:
                    i = self.match(i)
                i += 1
            else:
                self._declaration(start, min(i, len(toks)))
            i += 1

    def _call_at(self, lo, hi):
        """(name index, open, close) of the last top-level NAME(...) in [lo, hi) that is no attribute."""
        found, i = None, lo
        while i < hi:
            t = self.tokens[i]
            if t.text == "=":
                break
            if t.text == "(":
                close = self.match(i)
                before = self.tokens[i - 1] if i > lo else None
                if before is not None and before.kind == "ident" and not re.match(
                    r"__attribute__|_Alignas|_Static_assert|static_assert|ATTR_|__extension__|"
                    r"[A-Z_]*(ACQUIRE|RELEASE|REQUIRES|GUARDED|CAPABILITY|EXCLUDES)",
                    before.text,
                ):
                    found = found or (i - 1, i, close)
                i = close
            elif t.text in OPEN:
                i = self.match(i)
            i += 1
        return found

    def _params(self, lo, hi):
        """Number of parameters between the brackets at lo and hi."""
        if hi == lo + 1 or (hi == lo + 2 and self.tokens[lo + 1].text == "void"):
            return 0
        n, i = 1, lo + 1
        while i < hi:
            if self.tokens[i].text in OPEN:
                i = self.match(i)
            elif self.tokens[i].text == ",":
                n += 1
            i += 1
        return n

    def _function_header(self, lo, brace):
        words = [t.text for t in self.tokens[lo:brace]]
        if "=" in words or not words or words[0] == "typedef":
            return None
        call = self._call_at(lo, brace)
        if call is None:
            return None
        name, opened, closed = call
        return lo, name, self._params(opened, closed), brace, "static" in words[: name - lo]

    def _function(self, header, end):
        lo, name, params, brace, static = header
        f = Function(self.tokens[name].text, self.tokens[lo].line, params, static)
        f.end = self.tokens[end].line
        f.body = self.tokens[brace : end + 1]
        Walker(f).run()
        self._statics(brace, end)
        self.functions.append(f)

    def _statics(self, lo, hi):
        """static variables inside a function live as long as global ones."""
        i = lo
        while i < hi:
            if self.tokens[i].text == "static":
                j = i
                while j < hi and self.tokens[j].text != ";":
                    j = self.match(j) + 1 if self.tokens[j].text in OPEN else j + 1
                self._variable(i, j)
                i = j
            i += 1

    def _declaration(self, lo, hi):
        words = [t.text for t in self.tokens[lo:hi]]
        if not words or words[0] in ("_Static_assert", "static_assert"):
            return
        if words[0] == "typedef":
            self.typedefs.append((words[-1], self.tokens[lo].line))
            return
        call = self._call_at(lo, hi)
        if call is not None:
            if self.tokens[call[1] + 1].text != "*":
                name = self.tokens[call[0]]
                self.prototypes.append((name.text, name.line, self._params(call[1], call[2])))
                return
        self._variable(lo, hi)

    def _variable(self, lo, hi):
        outside, i = [], lo  # the tokens outside all brackets, up to the initialiser
        while i < hi and self.tokens[i].text != "=":
            if self.tokens[i].text == "(" and self.tokens[i + 1].text == "*":
                outside += self.tokens[i : self.match(i)]
                i = self.match(i)
            elif self.tokens[i].text in OPEN:
                if outside and outside[-1].text in ("struct", "enum", "union"):
                    outside.append(Token("ident", "{}", self.tokens[i].line))  # a type without a name
                i = self.match(i)
            else:
                outside.append(self.tokens[i])
            i += 1
        words = [t.text for t in outside]
        names = [t for t in outside if t.kind == "ident"]
        quals = ("static", "extern", "const", "volatile", "_Atomic", "_Thread_local", "register")
        plain = [w for w in words if w not in quals]
        if not plain or (plain[0] in ("struct", "enum", "union") and len(plain) <= 2):
            return  # a type, not an object
        if "*" in words:
            last = len(words) - 1 - words[::-1].index("*")
            mutable = "const" not in words[last:]
        else:
            mutable = "const" not in words
        self.variables.append((names[-1].text, names[0].line, mutable, "extern" in words))


class Walker:
    """Walks the statements of one function: deepest nesting and cognitive complexity.

    Cognitive complexity after its published definition: one for each break of the linear flow (if, else,
    loops, switch, ternary, goto, each run of equal logical operators, recursion), and for the nesting kind
    one more per level they are nested in.
    """

    def __init__(self, function):
        self.f = function
        self.toks = function.body
        self.i = 0

    def run(self):
        self._statement(0)
        for a, b in zip(self.toks, self.toks[1:]):
            if a.text == self.f.name and b.text == "(":
                self.f.cognitive += 1
                break

    def _at(self, k=0):
        return self.toks[self.i + k].text if self.i + k < len(self.toks) else ""

    def _enter(self, level, extra=None):
        self.f.nesting = max(self.f.nesting, level + 1)
        self.f.cognitive += 1 + (level if extra is None else extra)

    def _statement(self, level):
        word = self._at()
        if word == "{":
            self.i += 1
            while self._at() not in ("}", ""):
                self._statement(level)
            self.i += 1
        elif word == "if":
            self._if(level, chained=False)
        elif word in LOOPS or (re.search(r"_?EACH$", word) and self._at(1) == "("):
            self._enter(level)
            self.i += 1
            self._brackets(level)
            self._statement(level + 1)
        elif word == "do":
            self._enter(level)
            self.i += 1
            self._statement(level + 1)
            self.i += 1  # while
            self._expression(level)
        elif word in ("case", "default"):
            while self._at() not in (":", ""):
                self.i += 1
            self.i += 1
        elif word == "goto":
            self.f.cognitive += 1
            self._expression(level)
        elif self._at(1) == ":" and self.toks[self.i].kind == "ident":
            self.i += 2
        else:
            self._expression(level)

    def _if(self, level, chained):
        self._enter(level, extra=0 if chained else None)
        self.i += 1
        self._brackets(level)
        self._statement(level + 1)
        if self._at() != "else":
            return
        self.i += 1
        if self._at() == "if":
            self._if(level, chained=True)
        else:
            self.f.cognitive += 1
            self._statement(level + 1)

    def _brackets(self, level):
        """The parenthesised head of a statement."""
        if self._at() != "(":
            return
        start, depth = self.i, 0
        while self.i < len(self.toks):
            depth += (self._at() in OPEN) - (self._at() in CLOSE)
            self.i += 1
            if depth == 0:
                break
        self._operators(self.toks[start : self.i], level)

    def _expression(self, level):
        start, depth = self.i, 0
        while self.i < len(self.toks):
            if depth == 0 and self._at() in (";", "}"):
                break
            depth += (self._at() in OPEN) - (self._at() in CLOSE)
            self.i += 1
        self._operators(self.toks[start : self.i], level)
        if self._at() == ";":
            self.i += 1

    def _operators(self, toks, level):
        last, ternaries = [None], 0
        for t in toks:
            if t.kind != "op":
                continue
            if t.text in OPEN:
                last.append(None)
            elif t.text in CLOSE:
                if len(last) > 1:
                    last.pop()
            elif t.text in ("&&", "||"):
                if last[-1] != t.text:
                    self.f.cognitive += 1
                last[-1] = t.text
            elif t.text in (",", ";"):
                last[-1] = None
                ternaries = 0
            elif t.text == "?":
                self.f.cognitive += 1 + level + ternaries
                ternaries += 1
                last[-1] = None
