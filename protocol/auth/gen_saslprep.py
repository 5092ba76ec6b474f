#!/usr/bin/env python3
"""gen_saslprep.py - writes protocol/auth/saslprep_tables.c to standard output.

Run by hand when the tables must change (they follow a fixed standard, so never in practice):
    python3 protocol/auth/gen_saslprep.py > protocol/auth/saslprep_tables.c

RFC 4013 is bound to Unicode 3.2, so the character lists come from Python's stringprep module
(RFC 3454) and only characters of Unicode 3.2 get an entry. Their decompositions come from the current
database: PostgreSQL normalises with its current tables too, and later corrigenda changed six of them.
"""
import stringprep
import unicodedata

OLD = unicodedata.ucd_3_2_0
LAST = 0x10FFFF
SURROGATES = range(0xD800, 0xE000)
HANGUL = range(0xAC00, 0xD7A4)  # decomposed by arithmetic

HEAD = """\
/* saslprep_tables.c - Unicode data for SASLprep; written by gen_saslprep.py, do not edit.
 *
 * Called by: saslprep.c, through saslprep_tables.h.  Data only, hence longer than 600 lines.
 * Characters of Unicode 3.2 (RFC 3454); Hangul syllables are left out, saslprep.c computes them.
 * Invariant: every table is sorted by its first member.
 */
#include "base/base.h"

#include "protocol/auth/saslprep_tables.h"

/* clang-format off */
"""


def prohibited(ch):
    tests = (stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3,
             stringprep.in_table_c4, stringprep.in_table_c5, stringprep.in_table_c6,
             stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9,
             stringprep.in_table_a1)
    return any(test(ch) for test in tests)


def ranges(value_of):
    """Runs of equal, true values: (first, last, value)."""
    out = []
    for code in range(LAST + 1):
        value = value_of(chr(code))
        if value and out and out[-1][1] == code - 1 and out[-1][2] == value:
            out[-1] = (out[-1][0], code, value)
        elif value:
            out.append((code, code, value))
    return out


def rows(items):
    """Items packed into lines of at most 98 columns."""
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 98:
            yield line
            line = "   "
        line += " " + item + ","
    yield line


def table(kind, name, count, items):
    items = list(items)
    print(f"const {kind} {name}[] = {{")
    for line in rows(items):
        print(line)
    print("};")
    if count:
        print(f"const size_t {count} = ARRAY_LEN({name});")
    print()


def range_table(name, value_of):
    found = [f"{{0x{a:x}, 0x{b:x}}}" for a, b, _ in ranges(value_of)]
    table("struct saslprep_range", "saslprep_" + name, "saslprep_n" + name, found)


def assigned(code):
    return code not in SURROGATES and OLD.category(chr(code)) != "Cn"


def decompositions():
    entries, pool = [], []
    where = {}
    for code in range(LAST + 1):
        if not assigned(code) or code in HANGUL:
            continue
        text = unicodedata.normalize("NFKD", chr(code))
        if text == chr(code):
            continue
        if text not in where:
            where[text] = len(pool)
            pool.extend(ord(ch) for ch in text)
        entries.append(f"{{0x{code:x}, {where[text]}, {len(text)}}}")
    assert len(pool) < 65536
    table("struct saslprep_decomp", "saslprep_decomps", "saslprep_ndecomps", entries)
    table("uint32_t", "saslprep_pool", None, (f"0x{v:x}" for v in pool))


def compositions():
    pairs = []
    for code in range(LAST + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if not assigned(code) or code in HANGUL or len(parts) != 2 or parts[0].startswith("<"):
            continue
        first, second = (int(p, 16) for p in parts)
        if unicodedata.normalize("NFC", chr(first) + chr(second)) == chr(code):
            pairs.append((first, second, code))
    table("struct saslprep_pair", "saslprep_pairs", "saslprep_npairs",
          (f"{{0x{a:x}, 0x{b:x}, 0x{c:x}}}" for a, b, c in sorted(pairs)))


def main():
    print(HEAD)
    range_table("spaces", stringprep.in_table_c12)
    range_table("nothing", stringprep.in_table_b1)
    range_table("prohibited", prohibited)
    range_table("right_left", stringprep.in_table_d1)
    range_table("left_right", stringprep.in_table_d2)
    classes = ranges(lambda ch: unicodedata.combining(ch) if assigned(ord(ch)) else 0)
    table("struct saslprep_class", "saslprep_classes", "saslprep_nclasses",
          (f"{{0x{a:x}, 0x{b:x}, {c}}}" for a, b, c in classes))
    decompositions()
    compositions()
    print("/* clang-format on */")


if __name__ == "__main__":
    main()
