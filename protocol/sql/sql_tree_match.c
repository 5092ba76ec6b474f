/* sql_tree_match.c - columns that are compared with or set to a value: see sql_tree.h.
 *
 * For the result cache, which must know that a read or a write is about user_id = 42 and no other
 * row.  Found are "column = value" (either way round), where the column belongs to a table of the
 * nearest FROM (or is the target of UPDATE or DELETE), and the columns of an INSERT of VALUES.
 * Everything else simply is no match.  A name of WITH hides tables, so a SELECT with one has no
 * matches.
 *
 * Values are told from each other by where they stand in the text that was parsed, which has the
 * same constants and parameters in the same order as the client's.
 */
#include "base/base.h"
#include "protocol/sql/sql_tree.h"
#include "protocol/sql_slots.h"

struct places { /* where the constants and parameters begin */
    uint32_t at[SQL_SLOTS_MAX];
    int n; /* 0 also when there are too many */
};

struct matcher {
    const struct sql_json *j;
    struct sql_tree_scan *sc;
    struct places places;
    uint32_t top;   /* the statement's node */
    uint32_t steps; /* work left for climbing and for looking through FROM */
};

#define STEPS_MAX 200000u

static void find_places(struct str text, struct places *out)
{
    struct sql_slot slots[SQL_SLOTS_MAX];
    int n = sql_slots_read(text, 0, slots, SQL_SLOTS_MAX);

    out->n = n < 0 ? 0 : n;
    for (int i = 0; i < out->n; i++) {
        out->at[i] = (uint32_t)(slots[i].text.p - text.p);
    }
}

static uint32_t key_under(const struct sql_json *j, uint32_t object, const char *key)
{
    return object == SQL_JSON_NONE ? SQL_JSON_NONE : sql_json_get(j, object, str_of(key));
}

/* The only type that a cast may name without changing which value it is. */
static bool cast_of(const struct sql_json *j, uint32_t cast, enum fact_cast *out)
{
    static const struct {
        struct str name;
        enum fact_cast cast;
    } known[] = {
        {STR_INIT("int2"), FACT_CAST_INT},  {STR_INIT("int4"), FACT_CAST_INT},
        {STR_INIT("int8"), FACT_CAST_INT},  {STR_INIT("uuid"), FACT_CAST_UUID},
        {STR_INIT("text"), FACT_CAST_TEXT}, {STR_INIT("varchar"), FACT_CAST_TEXT},
    };
    uint32_t type = key_under(j, cast, "typeName");
    uint32_t names = key_under(j, type, "names");

    if (names == SQL_JSON_NONE || key_under(j, type, "typmods") != SQL_JSON_NONE ||
        key_under(j, type, "arrayBounds") != SQL_JSON_NONE) {
        return false;
    }
    struct str last = STR_NONE;
    for (uint32_t i = j->v[names].child; i != SQL_JSON_NONE; i = j->v[i].next) {
        uint32_t s = key_under(j, i, "String");
        bool first_of_two = j->v[i].next != SQL_JSON_NONE;
        last = s == SQL_JSON_NONE ? STR_NONE : sql_json_text(j, s, STR("sval"));
        if (first_of_two && !str_eq(last, STR("pg_catalog"))) {
            return false;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_eq(last, known[i].name)) {
            *out = known[i].cast;
            return true;
        }
    }
    return false;
}

/* The place of a value node ({"A_Const":..}, {"ParamRef":..}, or one of these under a cast), or
 * -1. */
static int slot_of(const struct matcher *m, uint32_t node, enum fact_cast *cast)
{
    uint32_t under = key_under(m->j, node, "TypeCast");
    int64_t at;

    *cast = FACT_CAST_NONE;
    if (under != SQL_JSON_NONE) {
        if (!cast_of(m->j, under, cast)) {
            return -1;
        }
        node = key_under(m->j, under, "arg");
    }
    uint32_t value = key_under(m->j, node, "A_Const");
    if (value == SQL_JSON_NONE) {
        value = key_under(m->j, node, "ParamRef");
    }
    if (value == SQL_JSON_NONE ||
        !str_to_i64(sql_json_text(m->j, value, STR("location")), 0, UINT32_MAX, &at)) {
        return -1;
    }
    for (int i = 0; i < m->places.n; i++) {
        if (m->places.at[i] == (uint32_t)at) {
            return i;
        }
    }
    return -1;
}

/* {"ColumnRef":..} taken apart: an optional table, and a column. Longer names are none. */
static bool column_of(const struct sql_json *j, uint32_t node, struct str *table,
                      struct str *column)
{
    uint32_t fields = key_under(j, key_under(j, node, "ColumnRef"), "fields");
    struct str part[2] = {STR_NONE, STR_NONE};
    size_t n = 0;

    if (fields == SQL_JSON_NONE) {
        return false;
    }
    for (uint32_t i = j->v[fields].child; i != SQL_JSON_NONE; i = j->v[i].next) {
        uint32_t s = key_under(j, i, "String");
        if (s == SQL_JSON_NONE || n == ARRAY_LEN(part)) {
            return false;
        }
        part[n++] = sql_json_text(j, s, STR("sval"));
    }
    *table = n == 2 ? part[0] : STR_NONE;
    *column = n == 2 ? part[1] : part[0];
    return n > 0 && column->n > 0;
}

/* The index of the relation behind a RangeVar's fields, when it goes by that name (empty: by
 * any). */
static int range_var(const struct matcher *m, uint32_t rv, struct str name)
{
    uint32_t alias = key_under(m->j, rv, "alias");
    struct str relname = sql_json_text(m->j, rv, STR("relname"));
    struct str known = alias == SQL_JSON_NONE ? relname
                                              : sql_json_text(m->j, alias, STR("aliasname"));

    if ((name.n > 0 && !str_eq(name, known)) ||
        key_under(m->j, alias, "colnames") != SQL_JSON_NONE) {
        return -1;
    }
    return sql_draft_find(m->sc->d, sql_json_text(m->j, rv, STR("schemaname")), relname);
}

/* An entry of FROM, down through joins; the first of that name wins, for two of one name are an
 * error in one FROM. */
static int in_from(struct matcher *m, uint32_t item, struct str name)
{
    if (item == SQL_JSON_NONE || m->steps == 0) {
        return -1;
    }
    m->steps--;
    uint32_t rv = key_under(m->j, item, "RangeVar");
    if (rv != SQL_JSON_NONE) {
        return range_var(m, rv, name);
    }
    uint32_t join = key_under(m->j, item, "JoinExpr");
    if (join == SQL_JSON_NONE || key_under(m->j, join, "alias") != SQL_JSON_NONE) {
        return -1;
    }
    int left = in_from(m, key_under(m->j, join, "larg"), name);
    return left >= 0 ? left : in_from(m, key_under(m->j, join, "rarg"), name);
}

/* The relation that a column belongs to, seen from the statement `scope`. */
static int relation_of(struct matcher *m, uint32_t scope, struct str table)
{
    const struct sql_json *j = m->j;
    bool select = str_eq(j->v[scope].key, STR("SelectStmt"));

    if (!select) {
        bool alone = key_under(j, scope, "fromClause") == SQL_JSON_NONE &&
                     key_under(j, scope, "usingClause") == SQL_JSON_NONE;
        uint32_t rv = key_under(j, scope, "relation");
        return (alone || table.n > 0) && rv != SQL_JSON_NONE ? range_var(m, rv, table) : -1;
    }
    uint32_t from = key_under(j, scope, "fromClause");
    uint32_t first = from == SQL_JSON_NONE ? SQL_JSON_NONE : j->v[from].child;
    if (first == SQL_JSON_NONE || m->sc->has_with) {
        return -1;
    }
    if (table.n == 0) { /* only where no other table could have it */
        bool plain = j->v[first].next == SQL_JSON_NONE &&
                     key_under(j, first, "RangeVar") != SQL_JSON_NONE;
        return plain ? in_from(m, first, table) : -1;
    }
    for (uint32_t i = first; i != SQL_JSON_NONE; i = j->v[i].next) {
        int found = in_from(m, i, table);
        if (found >= 0) {
            return found;
        }
    }
    return -1;
}

static bool is_statement(struct str key)
{
    return str_eq(key, STR("SelectStmt")) || str_eq(key, STR("UpdateStmt")) ||
           str_eq(key, STR("DeleteStmt")) || str_eq(key, STR("InsertStmt")) ||
           str_eq(key, STR("MergeStmt"));
}

/* The statement around a node, or SQL_JSON_NONE. */
static uint32_t scope_of(struct matcher *m, uint32_t node)
{
    for (uint32_t a = node; a != 0 && m->steps > 0; a = m->j->v[a].parent, m->steps--) {
        if (m->j->v[a].type == SQL_JSON_OBJECT && is_statement(m->j->v[a].key)) {
            return a;
        }
    }
    return SQL_JSON_NONE;
}

/* The expression is all of the outermost WHERE, or a part of it joined by AND. */
static bool holds_always(const struct matcher *m, uint32_t expr)
{
    const struct sql_json *j = m->j;
    uint32_t box = j->v[expr].parent; /* {"A_Expr": ...} */

    while (!str_eq(j->v[box].key, STR("whereClause"))) {
        uint32_t args = j->v[box].parent;
        uint32_t op = j->v[args].parent;
        if (box == 0 || args == 0 || !str_eq(j->v[args].key, STR("args")) ||
            !str_eq(j->v[op].key, STR("BoolExpr")) ||
            !str_eq(sql_json_text(j, op, STR("boolop")), STR("AND_EXPR"))) {
            return false;
        }
        box = j->v[op].parent;
    }
    return j->v[box].parent == m->top;
}

static bool is_equality(const struct sql_json *j, uint32_t expr)
{
    uint32_t names = key_under(j, expr, "name");
    uint32_t first = names == SQL_JSON_NONE ? SQL_JSON_NONE : j->v[names].child;

    if (first == SQL_JSON_NONE || j->v[first].next != SQL_JSON_NONE ||
        !str_eq(sql_json_text(j, expr, STR("kind")), STR("AEXPR_OP"))) {
        return false;
    }
    uint32_t s = key_under(j, first, "String");
    return s != SQL_JSON_NONE && str_eq(sql_json_text(j, s, STR("sval")), STR("="));
}

static void on_expression(struct matcher *m, uint32_t expr)
{
    const struct sql_json *j = m->j;
    struct fact_match match = {0};
    struct str table;
    uint32_t left = key_under(j, expr, "lexpr");
    uint32_t right = key_under(j, expr, "rexpr");

    if (!is_equality(j, expr) || left == SQL_JSON_NONE || right == SQL_JSON_NONE) {
        return;
    }
    if (!column_of(j, left, &table, &match.column)) {
        uint32_t swap = left;
        left = right;
        right = swap;
        if (!column_of(j, left, &table, &match.column)) {
            return;
        }
    }
    int slot = slot_of(m, right, &match.cast);
    uint32_t scope = slot < 0 ? SQL_JSON_NONE : scope_of(m, expr);
    int relation = scope == SQL_JSON_NONE ? -1 : relation_of(m, scope, table);
    if (relation < 0) {
        return;
    }
    match.slot = (uint16_t)slot;
    match.relation = (uint16_t)relation;
    match.holds = scope == m->top && holds_always(m, expr);
    (void)sql_draft_match(m->sc->d, &match);
}

/* The names of ResTarget or IndexElem entries, each given to `add`. false: one has none. */
static bool each_name(struct matcher *m, uint32_t list, const char *kind,
                      void (*add)(struct sql_draft *d, struct str name))
{
    for (uint32_t i = list == SQL_JSON_NONE ? SQL_JSON_NONE : m->j->v[list].child;
         i != SQL_JSON_NONE; i = m->j->v[i].next) {
        uint32_t target = key_under(m->j, i, kind);
        struct str name = target == SQL_JSON_NONE ? STR_NONE
                                                  : sql_json_text(m->j, target, STR("name"));
        if (name.n == 0) {
            return false;
        }
        add(m->sc->d, name);
    }
    return true;
}

static bool read_row(struct matcher *m, uint32_t columns, uint32_t items, struct fact_match *match)
{
    const struct sql_json *j = m->j;
    uint32_t column = j->v[columns].child;

    for (uint32_t i = j->v[items].child; i != SQL_JSON_NONE; i = j->v[i].next) {
        if (column == SQL_JSON_NONE) {
            return false;
        }
        int slot = slot_of(m, i, &match->cast);
        match->column = sql_json_text(j, key_under(j, column, "ResTarget"), STR("name"));
        match->slot = (uint16_t)slot;
        if (slot >= 0 && !sql_draft_match(m->sc->d, match)) {
            return false;
        }
        column = j->v[column].next;
    }
    return true;
}

static bool read_conflict(struct matcher *m, uint32_t clause)
{
    struct str action = sql_json_text(m->j, clause, STR("action"));

    if (str_eq(action, STR("ONCONFLICT_NOTHING"))) {
        return true;
    }
    m->sc->d->upsert = true;
    return str_eq(action, STR("ONCONFLICT_UPDATE")) &&
           each_name(m, key_under(m->j, key_under(m->j, clause, "infer"), "indexElems"),
                     "IndexElem", sql_draft_conflict) &&
           each_name(m, key_under(m->j, clause, "targetList"), "ResTarget", sql_draft_assigned);
}

/* INSERT ... (columns) VALUES rows. false: anything else. */
static bool read_insert(struct matcher *m, int target)
{
    const struct sql_json *j = m->j;
    uint32_t columns = key_under(j, m->top, "cols");
    uint32_t source = key_under(j, key_under(j, m->top, "selectStmt"), "SelectStmt");
    uint32_t lists = key_under(j, source, "valuesLists");
    uint32_t conflict = key_under(j, m->top, "onConflictClause");
    uint32_t rows = 0;

    /* OVERRIDING USER VALUE throws given values away. */
    if (columns == SQL_JSON_NONE || lists == SQL_JSON_NONE ||
        str_eq(sql_json_text(j, m->top, STR("override")), STR("OVERRIDING_USER_VALUE")) ||
        (conflict != SQL_JSON_NONE && !read_conflict(m, conflict))) {
        return false;
    }
    for (uint32_t i = j->v[columns].child; i != SQL_JSON_NONE; i = j->v[i].next) {
        uint32_t column = key_under(j, i, "ResTarget");
        if (column == SQL_JSON_NONE || key_under(j, column, "indirection") != SQL_JSON_NONE) {
            return false;
        }
    }
    for (uint32_t i = j->v[lists].child; i != SQL_JSON_NONE; i = j->v[i].next) {
        uint32_t items = key_under(j, key_under(j, i, "List"), "items");
        struct fact_match match = {
            .relation = (uint16_t)target, .row = (uint16_t)rows, .holds = true};
        if (items == SQL_JSON_NONE || !read_row(m, columns, items, &match)) {
            return false;
        }
        rows++;
    }
    m->sc->d->rows = (uint16_t)rows;
    return rows > 0;
}

static void read_shape(struct matcher *m)
{
    struct sql_draft *d = m->sc->d;
    struct str key = m->j->v[m->top].key;
    uint32_t relation = key_under(m->j, m->top, "relation");
    int target = relation == SQL_JSON_NONE || m->sc->changes != 1
                     ? -1
                     : range_var(m, relation, STR_NONE);

    if (str_eq(key, STR("SelectStmt"))) {
        d->shape = FACT_SELECT;
        return;
    }
    if (target < 0) {
        return;
    }
    d->target = (uint16_t)target;
    if (str_eq(key, STR("DeleteStmt"))) {
        d->shape = FACT_DELETE;
    } else if (str_eq(key, STR("UpdateStmt"))) {
        bool named = each_name(m, key_under(m->j, m->top, "targetList"), "ResTarget",
                               sql_draft_assigned);
        d->shape = named ? FACT_UPDATE : FACT_OTHER;
    } else if (str_eq(key, STR("InsertStmt")) && read_insert(m, target)) {
        d->shape = FACT_INSERT;
    }
}

void sql_tree_match(const struct sql_json *j, uint32_t value, uint32_t to,
                    struct sql_tree_scan *scan)
{
    struct matcher m = {.j = j, .sc = scan, .top = value, .steps = STEPS_MAX};

    if (!is_statement(j->v[value].key)) {
        return;
    }
    find_places(scan->text, &m.places);
    read_shape(&m);
    if (scan->d->shape == FACT_OTHER) {
        sql_draft_shapeless(scan->d);
        return;
    }
    /* Values of an INSERT that stand in expressions of another statement do not matter. */
    for (uint32_t i = value; i < to && scan->d->shape != FACT_INSERT; i++) {
        if (str_eq(j->v[i].key, STR("A_Expr"))) {
            on_expression(&m, i);
        }
    }
}
