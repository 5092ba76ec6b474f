/* sql_tree_stmt.c - what a statement does by its kind: see sql_tree.h.
 *
 * Every kind that is not in the table changes catalogs for all we know (FX_DDL | FX_WRITE), which
 * sql_effects takes for unknown.
 */
#include "base/base.h"
#include "protocol/sql/sql_tree.h"

struct kind {
    struct str name;
    uint32_t effects;
    void (*judge)(const struct sql_json *j, uint32_t value,
                  struct sql_tree_scan *sc); /* may be NULL */
};

static bool is_true(const struct sql_json *j, uint32_t object, struct str key)
{
    return str_eq(sql_json_text(j, object, key), STR("true"));
}

static void judge_select(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    (void)j;
    (void)value;
    sc->d->selects = true;
    sc->d->repeatable_text = !sc->locks && !sc->into && !sc->modifies;
}

/* The modes of BEGIN; of a mode given twice the last one holds. */
static void judge_begin(const struct sql_json *j, uint32_t value, struct sql_draft *d)
{
    uint32_t options = sql_json_get(j, value, STR("options"));

    d->read_only_begin = d->read_write_begin = d->serializable_begin = false;
    for (uint32_t i = options == SQL_JSON_NONE ? SQL_JSON_NONE : j->v[options].child;
         i != SQL_JSON_NONE; i = j->v[i].next) {
        uint32_t def = sql_json_get(j, i, STR("DefElem"));
        uint32_t arg = def == SQL_JSON_NONE ? SQL_JSON_NONE : sql_json_get(j, def, STR("arg"));
        uint32_t c = arg == SQL_JSON_NONE ? SQL_JSON_NONE : sql_json_get(j, arg, STR("A_Const"));
        if (c == SQL_JSON_NONE) {
            continue;
        }
        struct str mode = sql_json_text(j, def, STR("defname"));
        uint32_t number = sql_json_get(j, c, STR("ival"));
        uint32_t word = sql_json_get(j, c, STR("sval"));
        if (str_eq(mode, STR("transaction_read_only")) && number != SQL_JSON_NONE) {
            d->read_only_begin = str_eq(sql_json_text(j, number, STR("ival")), STR("1"));
            d->read_write_begin = !d->read_only_begin;
        } else if (str_eq(mode, STR("transaction_isolation")) && word != SQL_JSON_NONE) {
            d->serializable_begin = str_eq(sql_json_text(j, word, STR("sval")),
                                           STR("serializable"));
        }
    }
}

static void judge_transaction(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    struct str kind = sql_json_text(j, value, STR("kind"));

    sc->effects |= FX_TXCTL;
    if (str_eq(kind, STR("TRANS_STMT_BEGIN")) || str_eq(kind, STR("TRANS_STMT_START"))) {
        sc->effects |= FX_BEGIN;
        judge_begin(j, value, sc->d);
    } else if (str_eq(kind, STR("TRANS_STMT_COMMIT")) || str_eq(kind, STR("TRANS_STMT_ROLLBACK")) ||
               str_eq(kind, STR("TRANS_STMT_PREPARE"))) {
        sc->effects |= FX_END;
        sc->effects |= is_true(j, value, STR("chain")) ? (uint32_t)FX_BEGIN : 0;
    } else if (str_eq(kind, STR("TRANS_STMT_COMMIT_PREPARED")) ||
               str_eq(kind, STR("TRANS_STMT_ROLLBACK_PREPARED"))) {
        sc->effects |= FX_WRITE;
    } else if (!str_eq(kind, STR("TRANS_STMT_SAVEPOINT")) &&
               !str_eq(kind, STR("TRANS_STMT_RELEASE")) &&
               !str_eq(kind, STR("TRANS_STMT_ROLLBACK_TO"))) {
        sc->effects |= FX_UNKNOWN;
    }
}

static void judge_set_multi(struct sql_tree_scan *sc, struct str name)
{
    if (!str_eq(name, STR("SESSION CHARACTERISTICS"))) {
        /* SET TRANSACTION; a snapshot is one session's, on its server */
        sc->effects |= FX_LOCAL |
                       (str_eq(name, STR("TRANSACTION SNAPSHOT")) ? (uint32_t)FX_UNKNOWN : 0);
        return;
    }
    sql_draft_var(sc->d, STR("default_transaction_isolation"), false);
    sql_draft_var(sc->d, STR("default_transaction_read_only"), false);
    sql_draft_var(sc->d, STR("default_transaction_deferrable"), false);
}

static void judge_set(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    struct str kind = sql_json_text(j, value, STR("kind"));
    struct str name = sql_json_text(j, value, STR("name"));

    if (is_true(j, value, STR("is_local"))) {
        sc->effects |= FX_LOCAL;
    } else if (str_eq(kind, STR("VAR_SET_MULTI"))) {
        judge_set_multi(sc, name);
    } else if (str_eq(kind, STR("VAR_RESET_ALL"))) {
        sc->effects |= FX_VARS_ALL;
    } else {
        bool reset = str_eq(kind, STR("VAR_RESET")) || str_eq(kind, STR("VAR_SET_DEFAULT"));
        sql_draft_var(sc->d, name, reset);
    }
}

static void judge_show(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    (void)j;
    (void)value;
    sc->d->repeatable_text = true;
}

static void judge_discard(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    struct str target = sql_json_text(j, value, STR("target"));

    if (str_eq(target, STR("DISCARD_TEMP"))) {
        sc->effects |= FX_TEMP;
    } else if (str_eq(target, STR("DISCARD_SEQUENCES"))) {
        sc->effects |= FX_SEQ_WRITE;
    } else if (!str_eq(target, STR("DISCARD_PLANS"))) {
        sc->effects |= FX_DISCARD_ALL;
    }
}

static void judge_listen(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    sql_draft_channel(sc->d, FX_LISTEN, sql_json_text(j, value, STR("conditionname")));
}

static void judge_unlisten(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    sql_draft_channel(sc->d, FX_UNLISTEN, sql_json_text(j, value, STR("conditionname")));
}

static void judge_prepare(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    sql_draft_prepared(sc->d, FX_PREPARE, sql_json_text(j, value, STR("name")));
}

static void judge_execute(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    sql_draft_prepared(sc->d, FX_EXECUTE, sql_json_text(j, value, STR("name")));
}

static void judge_deallocate(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    struct str name = sql_json_text(j, value, STR("name"));

    if (name.n > 0) {
        sql_draft_prepared(sc->d, FX_DEALLOCATE, name);
        return;
    }
    sc->effects |= FX_DEALLOCATE_ALL;
    sc->effects |= sc->d->has_prepared ? (uint32_t)FX_UNKNOWN : 0; /* before or after? */
}

#define CURSOR_OPT_HOLD 0x20 /* as in the parser's own headers */

static void judge_declare(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    int64_t options = 0;

    if (!str_to_i64(sql_json_text(j, value, STR("options")), 0, INT32_MAX, &options) ||
        (options & CURSOR_OPT_HOLD) != 0) {
        sc->effects |= FX_CURSOR;
    }
}

static void judge_copy(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    bool from = is_true(j, value, STR("is_from"));

    if (sql_json_text(j, value, STR("filename")).n > 0 || is_true(j, value, STR("is_program")) ||
        sql_json_get(j, value, STR("filename")) != SQL_JSON_NONE) {
        sc->effects |= FX_WRITE | FX_UNKNOWN; /* a file or program of the server */
    } else {
        sc->effects |= FX_COPY;
    }
    sc->effects |= from ? FX_WRITE | FX_SEQ_WRITE : FX_READ;
}

/* EXECUTE below EXPLAIN and CREATE TABLE AS. */
static void judge_inner(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    uint32_t query = sql_json_get(j, value, STR("query"));
    uint32_t inner = query == SQL_JSON_NONE ? SQL_JSON_NONE : j->v[query].child;

    if (inner == SQL_JSON_NONE) {
        sc->effects |= FX_UNKNOWN;
    } else if (str_eq(j->v[inner].key, STR("ExecuteStmt"))) {
        judge_execute(j, inner, sc);
    } else if (str_eq(j->v[inner].key, STR("DeclareCursorStmt"))) {
        judge_declare(j, inner, sc);
    } else if (str_eq(j->v[inner].key, STR("CreateTableAsStmt"))) {
        sc->into = true;
        sc->effects |= FX_DDL | FX_WRITE;
        judge_inner(j, inner, sc); /* the grammar allows no third level */
    }
}

/* Planning alone may call functions, so their effects stay; rows and tables change only with
 * ANALYZE, whose value may be any spelling of yes or no. */
static void judge_explain(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    const uint32_t executed = FX_WRITE | FX_SEQ_WRITE | FX_DDL | FX_TEMP | FX_CURSOR;
    uint32_t options = sql_json_get(j, value, STR("options"));
    bool analyze = false;

    sc->d->explains = true;
    judge_inner(j, value, sc);
    sc->effects |= FX_READ;
    for (uint32_t i = options == SQL_JSON_NONE ? SQL_JSON_NONE : j->v[options].child;
         i != SQL_JSON_NONE; i = j->v[i].next) {
        uint32_t def = sql_json_get(j, i, STR("DefElem"));
        analyze |= def == SQL_JSON_NONE ||
                   str_eq(sql_json_text(j, def, STR("defname")), STR("analyze"));
    }
    if (!analyze) {
        sc->effects &= ~executed;
    }
}

static void judge_lock(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    (void)j;
    (void)value;
    sc->d->locks_table = true;
}

static void judge_create_as(const struct sql_json *j, uint32_t value, struct sql_tree_scan *sc)
{
    sc->d->into = true;
    judge_inner(j, value, sc);
}

#define KIND(name, effects, judge)                                                                 \
    {                                                                                              \
        {name, sizeof(name) - 1}, effects, judge                                                   \
    }

static const struct kind kinds[] = {
    KIND("SelectStmt", FX_READ, judge_select),
    KIND("InsertStmt", FX_WRITE, NULL),
    KIND("UpdateStmt", FX_WRITE, NULL),
    KIND("DeleteStmt", FX_WRITE, NULL),
    KIND("MergeStmt", FX_WRITE, NULL),
    KIND("TransactionStmt", 0, judge_transaction),
    KIND("VariableSetStmt", 0, judge_set),
    KIND("VariableShowStmt", FX_SHOW, judge_show),
    KIND("ConstraintsSetStmt", FX_LOCAL, NULL),
    KIND("DiscardStmt", 0, judge_discard),
    KIND("ListenStmt", 0, judge_listen),
    KIND("UnlistenStmt", 0, judge_unlisten),
    KIND("NotifyStmt", FX_NOTIFY, NULL),
    KIND("PrepareStmt", 0, judge_prepare),
    KIND("ExecuteStmt", 0, judge_execute),
    KIND("DeallocateStmt", 0, judge_deallocate),
    KIND("DeclareCursorStmt", FX_READ, judge_declare),
    KIND("ClosePortalStmt", FX_CURSOR, NULL),
    KIND("FetchStmt", FX_READ, NULL),
    KIND("CopyStmt", 0, judge_copy),
    KIND("ExplainStmt", 0, judge_explain),
    KIND("CreateTableAsStmt", FX_DDL | FX_WRITE, judge_create_as),
    KIND("TruncateStmt", FX_WRITE | FX_SEQ_WRITE, NULL),
    KIND("LockStmt", FX_WRITE, judge_lock),
    KIND("CheckPointStmt", FX_WRITE, NULL),
    KIND("DropStmt", FX_DDL | FX_WRITE | FX_TEMP, NULL),
    KIND("DropOwnedStmt", FX_DDL | FX_WRITE | FX_TEMP, NULL),
    KIND("LoadStmt", FX_LOAD | FX_UNKNOWN, NULL),
    KIND("DoStmt", FX_LOAD | FX_UNKNOWN | FX_WRITE, NULL),
    KIND("CallStmt", FX_LOAD | FX_UNKNOWN | FX_WRITE, NULL),
};

void sql_tree_statement(const struct sql_json *j, uint32_t value, struct sql_tree_scan *scan)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (str_eq(j->v[value].key, kinds[i].name)) {
            scan->effects |= kinds[i].effects;
            if (kinds[i].judge != NULL) {
                kinds[i].judge(j, value, scan);
            }
            return;
        }
    }
    scan->effects |= FX_DDL | FX_WRITE;
}
