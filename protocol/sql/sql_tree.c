/* sql_tree.c - relations, functions, types and operators of a statement: see sql_tree.h.
 *
 * Nodes are found by the names of their fields, wherever they are: "relname" is in nothing but a
 * RangeVar, "funcname" below a "FuncCall" is a call, "names" a type, and so on.  So a node in a
 * place not thought of is not missed.  sql_tree_stmt.c then judges the statement as a whole.
 */
#include "base/base.h"
#include "protocol/sql/sql_builtin.h"
#include "protocol/sql/sql_tree.h"

#define WITH_STEPS_MAX 2000000u

/* What stands in a list of names: [{"String":{"sval":"a"}}, ...]. Returns how many, at most cap;
 * more or other things than names give 0. */
static uint32_t name_list(const struct sql_json *j, uint32_t list, struct str *out, uint32_t cap)
{
    uint32_t n = 0;

    for (uint32_t i = j->v[list].child; i != SQL_JSON_NONE; i = j->v[i].next) {
        uint32_t s = sql_json_get(j, i, STR("String"));
        if (s == SQL_JSON_NONE || n == cap) {
            return 0;
        }
        out[n++] = sql_json_text(j, s, STR("sval"));
    }
    return n;
}

/* Splits a possibly qualified name. false: no name. */
static bool qualified(const struct sql_json *j, uint32_t list, struct str *schema, struct str *name)
{
    struct str part[3];
    uint32_t n = name_list(j, list, part, ARRAY_LEN(part));

    *schema = n >= 2 ? part[n - 2] : STR_NONE;
    *name = n >= 1 ? part[n - 1] : STR_NONE;
    return n >= 1;
}

static bool has_name(const struct sql_json *j, uint32_t ctes, uint32_t until, struct str name)
{
    for (uint32_t i = j->v[ctes].child; i != SQL_JSON_NONE && i != until; i = j->v[i].next) {
        uint32_t cte = sql_json_get(j, i, STR("CommonTableExpr"));
        if (cte != SQL_JSON_NONE && str_eq(sql_json_text(j, cte, STR("ctename")), name)) {
            return true;
        }
    }
    return false;
}

/* The name is one of WITH, seen from this node: all names of a WITH hold in the statement it
 * belongs to; inside of it those before, or with RECURSIVE all. */
static bool is_with_name(struct sql_tree_scan *sc, const struct sql_json *j, uint32_t node,
                         struct str name)
{
    uint32_t item = SQL_JSON_NONE;
    uint32_t list = SQL_JSON_NONE;
    uint32_t from = node;

    for (uint32_t a = j->v[node].parent;; from = a, a = j->v[a].parent) {
        if (sc->with_steps == 0) {
            sc->effects |= FX_UNKNOWN;
            return false;
        }
        sc->with_steps--;
        uint32_t with = j->v[a].type == SQL_JSON_OBJECT ? sql_json_get(j, a, STR("withClause")) : 0;
        if (with != SQL_JSON_NONE) {
            bool inside = with == from &&
                          !str_eq(sql_json_text(j, with, STR("recursive")), STR("true"));
            uint32_t ctes = sql_json_get(j, with, STR("ctes"));
            if (ctes != SQL_JSON_NONE && has_name(j, ctes, inside ? item : SQL_JSON_NONE, name)) {
                return true;
            }
        }
        if (a == 0) {
            return false;
        }
        item = list;
        list = from;
    }
}

static bool is_written(const struct sql_json *j, uint32_t range_var)
{
    static const struct str writers[] = {
        {"InsertStmt", 10}, {"UpdateStmt", 10}, {"DeleteStmt", 10}, {"MergeStmt", 9}};
    const struct sql_json_value *v = &j->v[range_var];
    const struct sql_json_value *owner = &j->v[v->parent];

    if (!str_eq(v->key, STR("relation"))) {
        return str_eq(v->key, STR("RangeVar")) && str_eq(j->v[owner->parent].key, STR("relations"));
    }
    for (size_t i = 0; i < ARRAY_LEN(writers); i++) {
        if (str_eq(owner->key, writers[i])) {
            return true;
        }
    }
    return str_eq(owner->key, STR("CopyStmt")) &&
           str_eq(sql_json_text(j, v->parent, STR("is_from")), STR("true"));
}

static void on_relation(struct sql_tree_scan *sc, const struct sql_json *j, uint32_t relname)
{
    uint32_t node = j->v[relname].parent;
    struct str name = j->v[relname].text;
    struct str schema = sql_json_text(j, node, STR("schemaname"));
    bool wrapped = str_eq(j->v[node].key, STR("RangeVar"));

    /* FOR UPDATE OF x names an alias, the table itself is in FROM */
    if (wrapped && str_eq(j->v[j->v[j->v[node].parent].parent].key, STR("lockedRels"))) {
        return;
    }
    if (wrapped && sc->has_with && schema.n == 0 && is_with_name(sc, j, node, name)) {
        return;
    }
    bool written = is_written(j, node);
    if (written && str_eq(name, STR("pg_settings"))) {
        sc->effects |= FX_VARS_ALL; /* its rule calls set_config */
    } else if (written && (str_eq(schema, STR("pg_catalog")) || str_starts(name, STR("pg_")))) {
        sc->effects |= FX_DDL | FX_UNKNOWN;
    }
    sql_draft_relation(sc->d, schema, name, written);
}

/* The value of an argument that is a plain constant of text; false otherwise. */
static bool constant_text(const struct sql_json *j, uint32_t arg, struct str *out)
{
    uint32_t c = sql_json_get(j, arg, STR("A_Const"));
    uint32_t s = c == SQL_JSON_NONE ? SQL_JSON_NONE : sql_json_get(j, c, STR("sval"));

    if (s == SQL_JSON_NONE) {
        return false;
    }
    *out = sql_json_text(j, s, STR("sval"));
    return true;
}

static bool constant_true(const struct sql_json *j, uint32_t arg)
{
    uint32_t c = sql_json_get(j, arg, STR("A_Const"));
    uint32_t b = c == SQL_JSON_NONE ? SQL_JSON_NONE : sql_json_get(j, c, STR("boolval"));

    return b != SQL_JSON_NONE && str_eq(sql_json_text(j, b, STR("boolval")), STR("true"));
}

/* The default stands for it, as after RESET. */
static bool constant_null(const struct sql_json *j, uint32_t arg)
{
    uint32_t cast = sql_json_get(j, arg, STR("TypeCast"));
    uint32_t in = cast == SQL_JSON_NONE ? arg : sql_json_get(j, cast, STR("arg"));
    uint32_t c = in == SQL_JSON_NONE ? in : sql_json_get(j, in, STR("A_Const"));

    return c != SQL_JSON_NONE && sql_json_get(j, c, STR("isnull")) != SQL_JSON_NONE;
}

/* set_config(name, value, is_local): constants of the first and the last argument say what it
 * does. */
static void on_set_config(struct sql_tree_scan *sc, const struct sql_json *j, uint32_t call)
{
    uint32_t args = sql_json_get(j, call, STR("args"));
    uint32_t first = args == SQL_JSON_NONE ? SQL_JSON_NONE : j->v[args].child;
    uint32_t second = first == SQL_JSON_NONE ? SQL_JSON_NONE : j->v[first].next;
    uint32_t third = second == SQL_JSON_NONE ? SQL_JSON_NONE : j->v[second].next;
    struct str name;

    if (third != SQL_JSON_NONE && constant_true(j, third)) {
        sc->effects |= FX_LOCAL;
    } else if (third != SQL_JSON_NONE && constant_text(j, first, &name) && name.n > 0) {
        sql_draft_var(sc->d, name, constant_null(j, second));
    } else {
        sc->effects |= FX_VARS_ALL;
    }
}

static void on_call(struct sql_tree_scan *sc, const struct sql_json *j, uint32_t funcname)
{
    uint32_t call = j->v[funcname].parent;
    struct str key = j->v[call].key;
    struct str schema;
    struct str name;

    if (!str_eq(key, STR("FuncCall")) && !str_eq(key, STR("funccall"))) {
        return; /* CREATE FUNCTION and the like */
    }
    if (!qualified(j, funcname, &schema, &name)) {
        sc->effects |= FX_UNKNOWN;
        return;
    }
    sql_draft_function(sc->d, schema, name);
    if (schema.n > 0 && !str_eq(schema, STR("pg_catalog"))) {
        return; /* a user's own: the catalog has its say */
    }
    if (str_eq(name, STR("set_config"))) {
        on_set_config(sc, j, call);
    } else {
        sc->effects |= sql_builtin_function(name);
    }
}

static void on_type(struct sql_tree_scan *sc, const struct sql_json *j, uint32_t names)
{
    struct str schema;
    struct str name;
    bool known = qualified(j, names, &schema, &name) && sql_builtin_type(name) &&
                 (schema.n == 0 || str_eq(schema, STR("pg_catalog")));

    sc->d->operators = true; /* a cast may call a function */
    sc->d->custom_types |= !known;
}

static void on_operator(struct sql_tree_scan *sc, const struct sql_json *j, uint32_t names)
{
    struct str schema;
    struct str name;
    bool known = qualified(j, names, &schema, &name) && sql_builtin_operator(name) &&
                 (schema.n == 0 || str_eq(schema, STR("pg_catalog")));

    sc->d->operators = true;
    sc->d->custom_operators |= !known;
}

/* (expression).name: a field, or a call of a function of that name. Which it is, is for the
 * catalog. */
static void on_indirection(struct sql_tree_scan *sc, const struct sql_json *j, uint32_t list)
{
    for (uint32_t i = j->v[list].child; i != SQL_JSON_NONE; i = j->v[i].next) {
        uint32_t s = sql_json_get(j, i, STR("String"));
        if (s != SQL_JSON_NONE) {
            sql_draft_function(sc->d, STR(""), sql_json_text(j, s, STR("sval")));
        }
    }
}

static void on_change(struct sql_tree_scan *sc, bool may_insert)
{
    sc->modifies = true;
    sc->changes++;
    sc->effects |= FX_WRITE | FX_READ;
    if (may_insert) {
        sc->effects |= FX_SEQ_WRITE; /* defaults */
    }
}

static void on_list(struct sql_tree_scan *sc, const struct sql_json *j, uint32_t at, struct str key)
{
    if (str_eq(key, STR("names"))) {
        on_type(sc, j, at);
    } else if (sc->names_only) {
        return;
    } else if (str_eq(key, STR("funcname"))) {
        on_call(sc, j, at);
    } else if (str_eq(key, STR("useOp")) || str_eq(key, STR("operName")) ||
               (str_eq(key, STR("name")) && str_eq(j->v[j->v[at].parent].key, STR("A_Expr")))) {
        on_operator(sc, j, at);
    } else if (str_eq(key, STR("indirection")) &&
               str_eq(j->v[j->v[at].parent].key, STR("A_Indirection"))) {
        on_indirection(sc, j, at);
    } else if (str_eq(key, STR("lockingClause"))) {
        sc->locks = true;
        sc->effects |= FX_WRITE;
    } else if (str_eq(key, STR("method"))) {
        struct str schema;
        struct str name;
        if (qualified(j, at, &schema, &name)) {
            sql_draft_function(sc->d, schema, name); /* TABLESAMPLE */
        }
    }
}

static void on_object(struct sql_tree_scan *sc, struct str key)
{
    if (sc->names_only) {
        return;
    }
    if (str_eq(key, STR("InsertStmt")) || str_eq(key, STR("MergeStmt"))) {
        on_change(sc, true);
    } else if (str_eq(key, STR("UpdateStmt")) || str_eq(key, STR("DeleteStmt"))) {
        on_change(sc, false);
    } else if (str_eq(key, STR("SelectStmt"))) {
        sc->effects |= FX_READ;
    } else if (str_eq(key, STR("SQLValueFunction"))) {
        sc->d->session_values = true;
    } else if (str_eq(key, STR("intoClause"))) {
        sc->into = true;
        sc->effects |= FX_DDL | FX_WRITE;
    }
}

static void on_string(struct sql_tree_scan *sc, const struct sql_json *j, uint32_t at,
                      struct str key)
{
    struct str text = j->v[at].text;

    sc->pg_temp |= str_starts(text, STR("pg_temp"));
    if (sc->names_only) {
        return;
    }
    if (str_eq(key, STR("relname"))) {
        on_relation(sc, j, at);
    } else if (str_eq(key, STR("relpersistence")) && str_eq(text, STR("t"))) {
        sc->effects |= FX_TEMP;
    }
}

static void scan_nodes(struct sql_tree_scan *sc, const struct sql_json *j, uint32_t from,
                       uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        const struct sql_json_value *v = &j->v[i];
        switch (v->type) {
        case SQL_JSON_OBJECT:
            on_object(sc, v->key);
            break;
        case SQL_JSON_ARRAY:
            on_list(sc, j, i, v->key);
            break;
        case SQL_JSON_STRING:
            on_string(sc, j, i, v->key);
            break;
        case SQL_JSON_PLAIN:
            break;
        }
    }
}

static bool tree_has_with(const struct sql_json *j)
{
    for (uint32_t i = 0; i < j->n; i++) {
        if (str_eq(j->v[i].key, STR("withClause"))) {
            return true;
        }
    }
    return false;
}

/* One statement: raw is its entry in "stmts", to the first entry behind it. */
static void read_statement(struct sql_tree_scan *sc, const struct sql_json *j, uint32_t raw,
                           uint32_t to, bool only)
{
    uint32_t stmt = sql_json_get(j, raw, STR("stmt"));
    uint32_t value = stmt == SQL_JSON_NONE ? SQL_JSON_NONE : j->v[stmt].child;

    if (value == SQL_JSON_NONE) {
        sc->d->effects |= FX_UNKNOWN;
        return;
    }
    sc->effects = sc->changes = 0;
    sc->locks = sc->into = sc->modifies = sc->pg_temp = false;
    sc->names_only = str_eq(j->v[value].key, STR("PrepareStmt"));
    scan_nodes(sc, j, value, to);
    sql_tree_statement(j, value, sc);
    sc->d->locks_rows |= sc->locks;
    sc->d->into |= sc->into;
    sc->d->modifies |= sc->modifies;
    if (sc->pg_temp && (sc->effects & FX_DDL) != 0) {
        sc->effects |= FX_TEMP;
    }
    sc->d->effects |= sc->effects;
    if (only && !sc->names_only) {
        sql_tree_match(j, value, to, sc);
    }
}

void sql_tree_read(const struct sql_json *j, struct str text, struct sql_draft *d)
{
    struct sql_tree_scan sc = {
        .d = d, .text = text, .with_steps = WITH_STEPS_MAX, .has_with = tree_has_with(j)};
    uint32_t stmts = sql_json_get(j, 0, STR("stmts"));
    uint32_t n = 0;

    if (stmts == SQL_JSON_NONE) {
        return;
    }
    for (uint32_t i = j->v[stmts].child; i != SQL_JSON_NONE; i = j->v[i].next) {
        uint32_t next = j->v[i].next;
        read_statement(&sc, j, i, next == SQL_JSON_NONE ? j->n : next,
                       n == 0 && next == SQL_JSON_NONE);
        n++;
    }
    d->effects |= n > 1 ? (uint32_t)FX_MULTI : n == 0 ? (uint32_t)FX_EMPTY : 0;
    d->repeatable_text &= n == 1 && (d->effects & ~(uint32_t)(FX_READ | FX_SHOW)) == 0;
    d->read_only_begin &= n == 1;
    d->read_write_begin &= n == 1;
    d->complete = true;
}
