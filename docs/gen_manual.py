#!/usr/bin/env python3
"""Writes docs/configuration.md and docs/penstock.ini.5 from what `penstock --manual` prints.

The rows come from the one table in proxy/config/config_schema.c; this script adds what does not hang on
a single option.  test/docs compares its output with the files, so they cannot fall behind the table.

    gen_manual.py [build/penstock]     after a change of an option
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

MD_HEAD = """\
# Configuration

Written by `docs/gen_manual.py` from the table in `proxy/config/config_schema.c`. Do not edit it here.
`penstock --manual` prints the tables, `penstock --sample` prints a sample file with the same
options, `penstock --check FILE.ini` says whether a file is good.

## The file

- `[section]`, then `key = value`, one on a line. A line that begins with `;` or `#` is a comment.
  There are no comments behind a value.
- `%include FILE` reads another file in its place, to a depth of ten.
- Times are in seconds and may have fractions, unless the table says otherwise. Sizes are bytes, or
  a number with kB, MB or GB.
- An unknown section, an unknown key or a value out of range makes the whole file bad. The message
  names file, line, key and reason. At start the program ends; at a reload the old configuration stays.
- A PgBouncer 1.25 file works as it is. What an option does not do here stands in its row.
- `kill -HUP` and the console's `RELOAD` read the file again, with the user list, the access rules
  and the certificates. Options marked "no" under reload keep their value until a restart.

## Without a file

`penstock postgres://USER:PASSWORD@HOST:PORT/DATABASE` needs no file. It listens on
127.0.0.1:6432 in transaction mode with the defaults marked [penstock]. Several hosts may be given
with commas. Behind `?` these parameters of libpq are known: user, password, dbname, host, port, sslmode,
sslrootcert, sslcert, sslkey, connect_timeout, application_name, client_encoding, load_balance_hosts.
`PGUSER` and `PGPASSWORD` stand in for what the URL leaves out. Clients log in as themselves with SCRAM. The URL's own user is `auth_user` and
console administrator; it must be allowed to run `auth_query` when others are to log in.

## Sections

"""

MAN_HEAD = r""".\" Written by docs/gen_manual.py from the output of penstock --manual.
.TH PENSTOCK.INI 5 "" "Penstock" "Penstock manual"
.SH NAME
penstock.ini \- configuration of the penstock connection pooler
.SH DESCRIPTION
The file has sections of lines
.IR "key " = " value" .
A line that begins with
.B ;
or
.B #
is a comment; nothing else is one.
.B %include
.I FILE
reads another file in its place, to a depth of ten.
.PP
Times are in seconds and may have fractions unless the text says otherwise.
Sizes are bytes, or a number with kB, MB or GB.
.PP
An unknown section or key, or a value out of range, makes the whole file bad.
The message names file, line, key and reason.
At start the program ends; at a reload the old configuration stays.
.PP
A PgBouncer 1.25 file works as it is.
"""

MAN_TAIL = r""".SH EXAMPLE
.nf
[databases]
app = host=127.0.0.1 port=5432 dbname=app

[penstock]
auth_file = userlist.txt
admin_users = postgres
.fi
.SH SEE ALSO
.BR penstock (1)
"""

SECTION_NAMES = {"[pgbouncer] and [penstock]": "MAIN SECTION", "[databases] and [users]": "LIMITS OF ENTRIES",
                 "[databases] only": "DATABASES", "[peers]": "PEERS"}


def manual(program):
    return subprocess.run([program, "--manual"], check=True, stdout=subprocess.PIPE, text=True).stdout


def configuration_md(text):
    return MD_HEAD + text


def cells(line):
    return [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]


def roff(text):
    """Markdown of a cell or a paragraph to one line of roff."""
    text = re.sub(r"\\([|<*])", r"\1", text)
    text = text.replace("\\", r"\e").replace("-", r"\-")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fR", text)
    return r"\&" + text if text.startswith((".", "'")) else text


def item(name, note, text):
    head = rf"\fB{roff(name)}\fR" + (f" ({note})" if note else "")
    return f".TP\n{head}\n{roff(text)}\n"


def man_row(header, row):
    if header[0] == "key" and header[1:] == ["default", "unit", "reload", "meaning"]:
        key, default, unit, reload, meaning = row
        note = "empty" if default == "(empty)" else f"default {default}" + (f" {unit}" if unit else "")
        return item(key, roff(note), meaning + ("" if reload == "yes" else " A change needs a restart."))
    if header == ["key", "in", "global option"]:
        return item(row[0], roff(f"in {row[1]}"), f"Instead of {row[2]}.")
    return item(row[0], "", row[1])


def penstock_ini_5(text):
    out, header, words = [MAN_HEAD], [], []

    def paragraph():
        if words:
            out.append(".PP\n" + roff(" ".join(words)) + "\n")
            words.clear()

    for line in text.splitlines() + [""]:
        if line.startswith("### "):
            paragraph()
            out.append(f".SH {SECTION_NAMES[line[4:]]}\n")
            header = []
        elif line.startswith("|---"):
            continue
        elif line.startswith("|"):
            paragraph()
            if header:
                out.append(man_row(header, cells(line)))
            else:
                header = cells(line)
        elif line.strip():
            words.append(line.strip())
        else:
            paragraph()
    return "".join(out) + MAN_TAIL


def outputs(program):
    text = manual(program)
    return {"docs/configuration.md": configuration_md(text), "docs/penstock.ini.5": penstock_ini_5(text)}


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build", "penstock")
    for name, text in outputs(program).items():
        with open(os.path.join(ROOT, name), "w") as f:
            f.write(text)
        print("wrote", name)


if __name__ == "__main__":
    main()
