"""The objects that test/integration/route_table.inc speaks of, and its entries.

Used by test_standby_sql.py (the product's own judgement and standbys asked directly) and by
test_route_table.py (through the proxy).
"""
import ast
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
TABLE = os.path.join(os.path.dirname(HERE), "integration", "route_table.inc")

OBJECTS = """
CREATE EXTENSION file_fdw;
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE SCHEMA other;
CREATE SEQUENCE seq;
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE accounts (id serial PRIMARY KEY, user_id int REFERENCES users, balance int DEFAULT 0);
INSERT INTO users SELECT i, chr(96 + i) || i FROM generate_series(1, 9) i;
INSERT INTO accounts (user_id, balance) SELECT i % 9 + 1, i FROM generate_series(1, 50) i;
CREATE TABLE scratch (a int);
CREATE UNLOGGED TABLE logs (a int);
CREATE FOREIGN TABLE far (a int) SERVER files OPTIONS (filename '/dev/null');
CREATE TABLE part (k int) PARTITION BY LIST (k);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF part DEFAULT;
CREATE FUNCTION fn_stable(int) RETURNS bigint LANGUAGE plpgsql STABLE AS
    'BEGIN RETURN (SELECT count(*) FROM accounts WHERE id < $1); END';
CREATE FUNCTION fn_immutable(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
CREATE FUNCTION fn_sql(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1 + 1';
CREATE FUNCTION fn_volatile(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
CREATE FUNCTION fn_writes() RETURNS int LANGUAGE sql AS 'INSERT INTO scratch VALUES (9) RETURNING a';
CREATE FUNCTION fn_mixed(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
CREATE FUNCTION fn_mixed(text) RETURNS text LANGUAGE sql VOLATILE AS 'SELECT $1';
CREATE FUNCTION add_volatile(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1 + coalesce($2, 0)';
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE AGGREGATE total_volatile(int) (SFUNC = add_volatile, STYPE = int, INITCOND = '0');
CREATE PROCEDURE proc() LANGUAGE plpgsql AS 'BEGIN NULL; END';
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TABLE with_trigger (a int);
CREATE TRIGGER g BEFORE INSERT ON with_trigger FOR EACH ROW EXECUTE FUNCTION trg();
CREATE TABLE guarded (a int, who text); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON guarded USING (who = current_setting('app.user', true) AND fn_stable(a) > 0);
CREATE TABLE guarded_at_random (a int); ALTER TABLE guarded_at_random ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON guarded_at_random USING (a < random());
CREATE VIEW v_accounts AS SELECT id, user_id FROM accounts;
CREATE VIEW v_of_view AS SELECT count(*) AS n FROM v_accounts JOIN users ON users.id = user_id;
CREATE VIEW v_random AS SELECT id, random() AS r FROM accounts;
CREATE VIEW v_of_random AS SELECT id FROM v_random;
CREATE VIEW v_writes AS SELECT fn_writes() AS w;
CREATE VIEW v_stable_code AS SELECT fn_stable(id) AS n FROM accounts;
CREATE VIEW v_locks AS SELECT id FROM accounts FOR UPDATE;
CREATE VIEW v_logs AS SELECT a FROM logs;
CREATE VIEW v_seq AS SELECT last_value FROM seq;
CREATE VIEW v_sessions AS SELECT pid FROM pg_stat_activity;
CREATE MATERIALIZED VIEW mat AS SELECT id, random() AS r FROM accounts;
"""


def route_table():
    """[(statement, "primary" or "replica", reason)] in the order of the file."""
    entries = []
    with open(TABLE, encoding="utf-8") as f:
        for line in f:
            if not line.startswith("{"):
                continue
            entry = ast.literal_eval(re.sub(r"^\{(.*)\},$", r"(\1)", line.strip()))
            assert len(entry) == 3 and entry[1] in ("primary", "replica"), line
            entries.append(entry)
    return entries
