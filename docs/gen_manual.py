#!/usr/bin/env python3
"""Writes docs/configuration.md and docs/penstock.ini.5 from what `penstock --manual` prints, and
docs/metrics.md from what `penstock --metrics` prints.

The rows come from the tables in proxy/config/config_schema.c and proxy/metrics/metrics.c; this script adds
what does not hang on a single row.  test/docs compares its output with the files, so they cannot fall
behind the tables.

    gen_manual.py [build/penstock]     after a change of an option or a metric
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
options, `penstock --check FILE.ini` says whether a file is good, and tells for each key in it what it
does here.

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

METRICS_HEAD = """\
# Metrics

Written by `docs/gen_manual.py` from the table in `proxy/metrics/metrics.c`. Do not edit it here.
`penstock --metrics` prints the table.

## The HTTP port

`http_listen = 9127` in the main section opens it on 127.0.0.1; `ADDRESS:PORT`, `[ADDRESS]:PORT` and
`*:PORT` open it elsewhere. It is off unless set, and it only shows: nothing can be changed through it.

| path | answer |
| --- | --- |
| `/` | a page to look at, see below |
| `/metrics` | the table below, in the text format of OpenMetrics 1.0 |
| `/healthz` | 200 when every thread of the process answers, else 503 |
| `/readyz` | 200 when new clients can be served, else 503 and why not |

- **Ready** is a process that is not draining, paused, suspended or full (`max_client_conn`) and can connect
  to a host of at least one of its databases. That is tried when `/readyz` is asked, at most once a second:
  a connection is opened and closed without a byte. A database that cannot be reached is named also while
  others can.
- **Who may look.** Everybody who reaches the port, unless `http_auth = 1`: then a user of `admin_users` or
  `stats_users`, with the secret that `auth_file` has (basic authentication; there is no TLS, so put a proxy
  with TLS in front of it where the network is not trusted). `/healthz` and `/readyz` are open all the
  same, but without a login `/readyz` gives no reasons. A password takes long to check; the one that was right
  last is remembered as a keyed digest until the configuration changes, and `/healthz` checks none. On a loopback address the port answers only to
  `localhost` and to addresses as host, so that a foreign page in a browser cannot read it.
- **Limits.** 64 connections; 5 seconds for the head of a connection's first request, 20 between a request and
  the head of the next (15 of silence), a minute for an answer; 16 KiB of request;
  8 large answers at a time, 64 MiB each. One connection more than 64 closes another: of the address that has
  most of them, one without a request before one that is being answered, and the oldest of those. So one
  machine cannot keep the probes of others away, which would restart the process. The port belongs to one process: a second one with the same
  `http_listen` does not start. Only a process that takes over from another shares it for a moment.
- **Cost.** Workers are asked by message, as for the console, and copy their numbers, 64 pools in a turn of
  their loop; text is made on the HTTP thread. There is no lock on the data path. `make bench` counts what
  the histograms cost a transaction and times a scrape of 1,000 pools.

In a Prometheus configuration:

    scrape_configs:
      - job_name: penstock
        static_configs:
          - targets: ['127.0.0.1:9127']

## The page

`http://127.0.0.1:9127/` shows what the proxy does just now: trouble in words, the way from clients through
pools to servers, five minutes of throughput, times and waits, pools, statements and threads. It is one
file that is part of the program, loads nothing from anywhere but `/state.json`, and asks that once a second
while it is looked at. The charts begin when the page is opened; keep the past in Prometheus. It follows the
system's light or dark colours; `#dark` or `#light` behind the address chooses. `/state.json` belongs to
the page and changes with it: scripts should read `/metrics`.

Where there are clusters the way goes on to their nodes, and there are charts of the share of replicas and of
their lag; where there are rules of the result cache, of its hits.

Trouble is what somebody should look at: clients that have waited for a tenth of a second or more, with the
state of the servers they wait for; transactions that have been idle for a minute; databases that cannot be
connected to, are paused or disabled; a cluster without a primary or with two, nodes that are not up, requests
that are held; rules of the cache that are refused, Redis that does not answer; clients, descriptors or buffers at nine tenths of their limit.

## Reading them

- Counters of a pool are those of all workers together, and those of pools that a worker has closed since;
  they equal SHOW STATS. Gauges of a pool equal SHOW POOLS: `cl_active` is all states of
  `penstock_pool_clients` but `waiting`, `sv_active` is `active` and `shared` of `penstock_pool_servers`.
- Pools of a cluster have a label `node`, as SHOW POOLS has the column: one pool for each node with its servers and
  what happened on them, beside the entry's own, without the label, that has the clients. Each metric is shown of
  the one or of the others, as its row below says; the sum over nodes is that of SHOW STATS. What a node has
  counted stays there when its pool is closed. Pools without a cluster have no such label.
- States of a client: `idle` has no server, `waiting` is queued for one, `active` runs a request on a server
  of its own, `sharing` runs a read on a server that others use too, `holding` keeps its server between
  requests: in a transaction, or for a reason of `penstock_pool_pinned_servers`.
- `penstock_pool_pinned_servers` shows only reasons that there are, as do errors by code and refusals by
  cause. At most 24 codes a pool are told apart; further ones are `other`.
- Times are measured from one turn of a worker's loop to another. Buckets end at powers of two of microseconds
  up to a quarter of a second, and at powers of four beyond; those of waits at powers of four throughout. All
  of them are always there, also empty ones, and the same for every pool, so that a quantile over several pools
  is right: `histogram_quantile(0.99, sum by (le) (rate(...)))`. Histograms are kept only while
  the port is open: they take 6 KiB a pool and worker. `penstock_pool_wait_seconds` has every client that got a server, so its first bucket are those that did
  not wait. `penstock_pool_share_depth` is there for pools that share.
- **Nodes** are those of SHOW NODES, `penstock_node_requests_total` has the numbers of SHOW ROUTING: `reason` is
  why a request went to that node (`analysis`, `hint`, `not_fresh`, `in_transaction` ..., the words of SHOW LAST).
  `penstock_cluster_holds_total` counts requests that had to wait for a node and `penstock_cluster_refusals_total`
  those that got none, both by the first reason. Lag is left out where it is not known. Counters of a node stay
  when its pools are closed, and begin anew when the cluster is taken out of the configuration and put back.
- **The cache**: `penstock_cache_*_total` are the columns of SHOW CACHE, by rule and database; databases that no
  client has used yet have none. Entries and memory are there where answers are in memory;
  `penstock_redis_*` are those of SHOW REDIS, where they are in Redis.
- **Errors** come from the database, **refusals** from Penstock: a `query_timeout` is both a timeout of kind
  `query` and the error 57014 with which the database ended it; a `query_wait_timeout` is a timeout and the
  refusal `pool_timeout`.

## Table

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
                 "[databases] only": "DATABASES", "[peers]": "PEERS",
                 "[cluster NAME]": "CLUSTERS", "[cache]": "CACHE", "[cache NAME]": "CACHE RULES"}


def manual(program, flag="--manual"):
    return subprocess.run([program, flag], check=True, stdout=subprocess.PIPE, text=True).stdout


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
    return {"docs/configuration.md": configuration_md(text), "docs/penstock.ini.5": penstock_ini_5(text),
            "docs/metrics.md": METRICS_HEAD + manual(program, "--metrics")}


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build", "penstock")
    for name, text in outputs(program).items():
        with open(os.path.join(ROOT, name), "w") as f:
            f.write(text)
        print("wrote", name)


if __name__ == "__main__":
    main()
