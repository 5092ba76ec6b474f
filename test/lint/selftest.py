#!/usr/bin/env python3
"""selftest.py - feeds lint.py small bad trees and looks whether it complains, and good ones whether it keeps
quiet.  Called by `make lint` before the real run: a linter that finds nothing must be known to find.
"""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lint  # noqa: E402
from c_source import Source  # noqa: E402
from rewrap import rewrap  # noqa: E402

HEAD = "/* file - what it is for. */\n"
BASE = HEAD + "#ifndef B_H\n#define B_H\n#include <stddef.h>\n#endif\n"


def measure(body, head="static int f(int a)"):
    return Source(f"{head}\n{{\n{body}\n}}\n").functions[0]


class Tree(unittest.TestCase):
    def rules(self, files, bare=False):
        """The set of (path, rule) found in a tree made of files: path -> text (HEAD is put before)."""
        with tempfile.TemporaryDirectory() as root:
            tree = {"base/base.h": BASE}
            tree.update(files)
            for path, text in tree.items():
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                plain = bare or path == "base/base.h" or not path.endswith((".c", ".h"))
                with open(full, "w", encoding="utf-8") as f:
                    f.write(text if plain else HEAD + '#include "base/base.h"\n' + text)
            return {(path, rule) for path, _, rule, _ in lint.run(root)}

    def finds(self, rule, path, text, **more):
        self.assertIn((path, rule), self.rules({path: text, **more.get("files", {})}, more.get("bare", False)))

    def quiet(self, path, text, **more):
        self.assertEqual(set(), self.rules({path: text, **more.get("files", {})}, more.get("bare", False)))

    # ---- layers ----------------------------------------------------------------------------------

    def test_arrows(self):
        headers = {p: "" for p in ("protocol/wire.h", "protocol/pg/pg_frame.h", "protocol/auth/scram.h",
                                   "protocol/sql/sql_cache.h", "protocol/sql/sql_lex.h", "router/route.h",
                                   "cache/cache.h", "proxy/conn.h", "base/str.h")}
        bad = [("base", "protocol/wire.h"), ("protocol", "proxy/conn.h"), ("protocol", "router/route.h"),
               ("router", "cache/cache.h"), ("router", "protocol/pg/pg_frame.h"), ("cache", "router/route.h"),
               ("cache", "protocol/sql/sql_cache.h"), ("router", "proxy/conn.h"),
               ("proxy", "protocol/pg/pg_frame.h"), ("proxy", "protocol/sql/sql_lex.h")]
        good = [("base", "base/str.h"), ("protocol/pg", "protocol/auth/scram.h"), ("router", "protocol/wire.h"),
                ("cache", "protocol/wire.h"), ("proxy", "protocol/auth/scram.h"), ("proxy/net", "cache/cache.h"),
                ("proxy", "protocol/sql/sql_cache.h"), ("proxy", "router/route.h"),
                ("test/unit", "protocol/pg/pg_frame.h")]
        for folder, name in bad:
            self.finds("layer", f"{folder}/x.c", f'#include "{name}"\n', files=headers)
        for folder, name in good:
            self.quiet(f"{folder}/x.c", f'#include "{name}"\n', files=headers)

    def test_third_parties(self):
        for path, name in (("base/x.c", "openssl/evp.h"), ("protocol/pg/x.c", "openssl/evp.h"),
                           ("router/x.c", "ev.h"), ("proxy/x.c", "ini.h"), ("proxy/x.c", "pg_query.h"),
                           ("proxy/x.c", "hiredis/hiredis.h"), ("protocol/x.c", "ldap.h"),
                           ("proxy/x.c", "cmocka.h"), ("proxy/x.c", "curl/curl.h")):
            self.finds("layer", path, f"#include <{name}>\n")
        for path, name in (("protocol/auth/x.c", "openssl/evp.h"), ("proxy/x.c", "ev.h"),
                           ("proxy/config/x.c", "ini.h"), ("protocol/sql/x.c", "pg_query.h"),
                           ("cache/x.c", "hiredis/read.h"), ("proxy/x.c", "security/pam_appl.h"),
                           ("base/x.c", "sys/uio.h"), ("test/unit/x.c", "cmocka.h")):
            self.quiet(path, f"#include <{name}>\n")

    def test_a_fenced_library_has_one_file(self):
        self.finds("fence", "protocol/sql/b.c", "#include <pg_query.h>\n",
                   files={"protocol/sql/a.c": "#include <pg_query.h>\n"})

    def test_form_of_includes(self):
        self.finds("include-root", "base/x.c", '#include "str.h"\n')
        self.finds("include-first", "base/x.c", HEAD + "#include <stdio.h>\n", bare=True)
        self.finds("cycle", "base/a.h", '#include "base/b.h"\n', files={"base/b.h": '#include "base/a.h"\n'})

    # ---- sizes -----------------------------------------------------------------------------------

    def test_sizes(self):
        def function(lines):
            return "static void f(void)\n{\n" + "    g();\n" * (lines - 3) + "}\n"
        self.quiet("base/x.c", function(70))
        self.finds("function-length", "base/x.c", function(71))
        self.quiet("base/x.c", "\n" * 598)
        self.finds("file-length", "base/x.c", "\n" * 599)
        self.quiet("test/unit/x.c", "\n" * 998)
        self.finds("file-length", "test/unit/x.c", "\n" * 999)
        self.quiet("base/x.c", f"/* {'x' * 94} */\n")
        self.finds("columns", "base/x.c", f"/* {'x' * 95} */\n")
        def inline(lines):
            return "static inline void f(void)\n{\n" + "    g();\n" * lines + "}\n"
        self.quiet("base/x.h", inline(5))
        self.finds("inline", "base/x.h", inline(6))

    def test_parameters(self):
        six = ", ".join(f"int a{i}" for i in range(6))
        self.quiet("base/x.c", f"int f({six});\nint g({six})\n{{\n}}\nint h(void);\n")
        self.finds("parameters", "base/x.c", f"int f({six}, int b);\n")
        self.finds("parameters", "base/x.c", f"static int f({six}, int b)\n{{\n}}\n")
        self.quiet("base/x.c", f"int f(int (*cb)({six}, int b), int c);\n")

    def test_nesting(self):
        def nest(n):
            return "static void f(int a)\n{\n" + "if (a) {\n" * n + "a++;\n" + "}\n" * n + "}\n"
        self.quiet("base/x.c", nest(4))
        self.finds("nesting", "base/x.c", nest(5))
        self.assertEqual(2, measure("LIST_EACH(it, tmp, &head) if (a) b();").nesting)
        self.assertEqual(1, measure("if (a) b(); else if (c) d(); else if (e) f(); else g();").nesting)
        self.assertEqual(2, measure("do { if (a) b(); } while (c);").nesting)
        self.assertEqual(2, measure("switch (a) { case 1: case 'x': if (b) c(); break; case B ... C: d(); }").nesting)

    def test_cognitive(self):
        for want, body in (
            (0, "return a;"),
            (1, "if (a) b();"),
            (2, "if (a) b(); else c();"),
            (3, "if (a) b(); else if (c) d(); else e();"),
            (3, "for (;;) if (a) b();"),
            (6, "while (a) for (;;) if (b) c();"),
            (1, "switch (a) { case 1: b(); break; case 2: c(); break; }"),
            (2, "if (a && b && c) d();"),
            (3, "if (a && b || c) d();"),
            (2, "return a && (b || c);"),
            (1, "int x = a ? b : c;"),
            (3, "if (a) x = b ? c : d;"),
            (1, "goto fail; fail: return 1;"),
            (1, "return f(a - 1);"),
            (3, "do { if (a) b(); } while (c);"),
            (1, "struct s x = {.a = 1, .b = {2}}; if (a) { b(); }"),
        ):
            self.assertEqual(want, measure(body).cognitive, body)
        deep = "    if (a && b)\n        c();\n"
        self.quiet("base/x.c", "static void f(int a)\n{\n" + deep * 12 + "}\n")
        self.finds("cognitive", "base/x.c", "static void f(int a)\n{\n" + deep * 13 + "}\n")

    # ---- declarations and calls ------------------------------------------------------------------

    def test_globals(self):
        for text in ("int counter;\n", "static int n = 3;\n", "static char buf[20];\n",
                     "static const char *name;\n", "static const char *names[] = {\"a\"};\n",
                     "static struct { int a; } sink = {1};\n", "static struct pool p;\n", "extern int n;\n",
                     "static void (*hook)(int);\n", "static _Atomic int level = 2;\n",
                     "static _Thread_local int t;\n", "int f(void)\n{\n    static int n;\n    return n;\n}\n"):
            self.finds("global", "base/x.c", text)
        for text in ("static const int n = 3;\n", "static const char *const names[] = {\"a\"};\n",
                     "struct pool;\n", "struct pool {\n    int a;\n};\n", "enum { A, B };\n",
                     "extern const struct wire pg_wire;\n", "_Static_assert(1, \"x\");\n",
                     "static const struct {\n    const char *a;\n    int (*f)(int);\n} t[] = {{\"a\", g}};\n",
                     "static void (*const hook)(int) = g;\n", "int f(void) __attribute__((cold));\n",
                     "ATTR_NORETURN void die(const char *a);\n", "struct s *f(int a)\n{\n    int b = a;\n}\n",
                     "#define SITE() do { static struct log_site s; } while (0)\n"):
            self.quiet("base/x.c", text)
        self.quiet("proxy/main.c", "static int stop;\n")
        self.quiet("test/unit/x.c", "static int counter;\n")

    def test_typedef(self):
        self.finds("typedef", "base/x.h", "typedef struct foo foo_t;\n")
        self.quiet("base/x.h", "typedef int64_t usec_t;\n")

    def test_calls(self):
        for name in ("strcpy", "strcat", "sprintf", "vsprintf", "gets", "strtok", "atoi", "atol", "atoll"):
            self.finds("banned", "base/x.c", f"void f(void)\n{{\n    {name}(a);\n}}\n")
        self.finds("banned", "test/unit/x.c", "void f(void)\n{\n    atoi(a);\n}\n")
        self.finds("banned", "base/x.c", "#define F(a) strcpy(a, b)\n")
        self.quiet("base/x.c", "/* strcpy(a) */\nvoid f(void)\n{\n    g(\"strcpy(a)\", my_atoi(b));\n}\n")
        self.finds("assert", "base/x.c", "void f(void)\n{\n    assert(a);\n}\n")
        self.finds("assert", "base/x.c", "#include <assert.h>\n")
        self.quiet("base/x.c", "void f(void)\n{\n    static_assert(1, \"x\");\n}\n")

    def test_text(self):
        for mark in ("TO" + "DO", "FIX" + "ME", "X" * 3):
            self.finds("mark", "base/x.c", f"/* {mark}: later */\n")
            self.finds("mark", "test/x.py", f"# {mark}\n")
        self.quiet("base/x.c", 'const char *const t = "/tmp/a-' + "X" * 6 + '";\n')
        self.finds("head", "base/x.c", '#include "base/base.h"\n', bare=True)
        self.finds("blank", "base/x.c", "int f(void); \n")
        self.finds("tab", "base/x.c", "int f(\tvoid);\n")

    # ---- no word of PostgreSQL in the core -------------------------------------------------------

    def test_wire_literals(self):
        def body(text):
            return f"void f(int c)\n{{\n    {text}\n}}\n"
        bad = ["if (c == 'Z') g();", "if ('Q' != c) g();", "switch (c) { case 'T': g(); }", 'g("57014");',
               'g("08P01");', 'g("XX000");', 'g("SET a = 1");', 'g("SELECT 1");', 'g("DISCARD ALL");',
               'g("ROLLBACK");', 'g("select 1");', 'g("DEALLOCATE x");', 'g("BEGIN");']
        good = ["if (c == 'z') g();", "char x = 'Z';", 'g("10000");', 'g("settings of %s");', 'g("SETTINGS");',
                'g("hello");', 'g("selected");']
        for text in bad:
            for folder in ("proxy", "router", "cache"):
                self.finds("wire-literal", f"{folder}/x.c", body(text))
            self.quiet("protocol/pg/x.c", body(text))
        for text in good:
            self.quiet("proxy/x.c", body(text))

    # ---- exceptions ------------------------------------------------------------------------------

    def test_allow_list(self):
        bad = "static int n;\nstatic int m;\n"
        allow = "base/x.c global n: -- counted under the lock\n"
        found = self.rules({"base/x.c": bad, "test/lint/allow.txt": allow})
        self.assertEqual({("base/x.c", "global")}, found)  # m is left
        self.quiet("base/x.c", "static int n;\n", files={"test/lint/allow.txt": allow})
        self.finds("allow-unused", "test/lint/allow.txt", allow)
        self.finds("allow-reason", "test/lint/allow.txt", "base/x.c global n:\n")
        self.quiet("base/x.c", "static int n;\n",
                   files={"test/lint/allow.txt": "base/* global -- whatever the reason may be\n"})

    # ---- rewrap.py -------------------------------------------------------------------------------

    def test_rewrap(self):
        w = "word " * 19
        for text, want in (
            (f"/* {w}word word */", f"/* {w}\n * word word */".replace(" \n", "\n")),
            (f"/*\n * {w}more text\n * goes on\n */",
             f"/*\n * {w}\n * more text goes on\n */".replace(" \n", "\n")),
            (f"/*\n *  - {w}more text\n *  - next\n */",
             f"/*\n *  - {w}\n *    more text\n *  - next\n */".replace(" \n", "\n")),
            (f"/*\n * {w}the end.\n * Thread: any.\n */",
             f"/*\n * {w}\n * the end.\n * Thread: any.\n */".replace(" \n", "\n")),
            ("/* ---- a " + "-" * 100 + " */", "/* ---- a " + "-" * 87 + " */"),
            ("enum a { /* why */", "/* why */\nenum a {"),
            (f"int a; /* {w}*/", f"/* {w}*/\nint a;"),
            ("int a; /* short */", "int a; /* short */"),
            ("enum a b; /* short */", "enum a b; /* short */"),
        ):
            self.assertEqual(want, rewrap(text))
            self.assertEqual(want, rewrap(want))
            self.assertLessEqual(max(map(len, want.split("\n"))), 100)


if __name__ == "__main__":
    unittest.main(verbosity=0)
