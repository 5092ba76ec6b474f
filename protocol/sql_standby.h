/* sql_standby.h - may this statement run on a standby, and if not, why.
 *
 * Read by router and proxy.  Worker thread only, as the facts are.
 *
 * "May" is a proof: the statement writes nothing, locks nothing, calls nothing volatile, shows
 * nothing that differs between a primary and its standby but the age of the data, and a standby is
 * able to run it.  Unlike sql_repeatable it believes the label of a user's own function (one that
 * is not volatile cannot write unless it calls one that is), for the price of a wrong label is an
 * error of the standby that is repeated on the primary, not a write in the wrong place.  And
 * unlike it, it says no to unlogged tables and to what shows the server.
 */
#ifndef PENSTOCK_SQL_STANDBY_H
#define PENSTOCK_SQL_STANDBY_H

#include "base/base.h"
#include "protocol/sql_facts.h"

enum sql_standby {
    STANDBY_OK,
    STANDBY_NOT_PARSED,    /* not understood, or not a text */
    STANDBY_SEVERAL,       /* several statements */
    STANDBY_WRITE,         /* changes rows or large objects, COPY FROM, TRUNCATE */
    STANDBY_WRITE_IN_WITH, /* a WITH that changes rows */
    STANDBY_ROW_LOCK,      /* FOR UPDATE and its kin */
    STANDBY_TABLE_LOCK,    /* LOCK */
    STANDBY_INTO,          /* SELECT INTO, CREATE TABLE AS */
    STANDBY_DDL,           /* changes the catalogs, or maintenance */
    STANDBY_EXPLAIN_WRITE, /* EXPLAIN ANALYZE of a write */
    STANDBY_ADVISORY_LOCK,
    STANDBY_SEQUENCE,
    STANDBY_NOTIFY,           /* NOTIFY, LISTEN, UNLISTEN */
    STANDBY_KILL,             /* stops another session */
    STANDBY_CODE,             /* DO, CALL, LOAD */
    STANDBY_SETTING,          /* SET, RESET, DISCARD, set_config: the session's own affair */
    STANDBY_SHOW,             /* SHOW, current_setting: differ on a standby */
    STANDBY_TRANSACTION,      /* BEGIN, COMMIT, SAVEPOINT ...: their transaction decides */
    STANDBY_CURSOR,           /* cursors beyond the transaction */
    STANDBY_PREPARED,         /* PREPARE, EXECUTE, DEALLOCATE: the text behind the name decides */
    STANDBY_TEMP,             /* temporary objects */
    STANDBY_VOLATILE,         /* a volatile function */
    STANDBY_UNKNOWN_FUNCTION, /* one that the catalog does not know */
    STANDBY_SERVER_VIEW,      /* a function or view that shows this server or its sessions */
    STANDBY_UNLOGGED,         /* an unlogged table, also behind a view */
    STANDBY_UNKNOWN_RELATION,
    STANDBY_FOREIGN,           /* a foreign table */
    STANDBY_VOLATILE_RELATION, /* a view or policy that calls something volatile, or locks */
    STANDBY_CUSTOM_CODE,       /* volatile code behind operators, casts or types of the database */
    STANDBY_NO_CATALOG,        /* the catalog of the database is not known yet */
    STANDBY_EMPTY,             /* nothing to run */
    STANDBY_SERIALIZABLE,      /* said by the router: that isolation needs the primary */
    STANDBY_LEARNED,           /* said by the router: a standby has refused this digest before */
};

/* What keeps f from a standby, the first reason found, or STANDBY_OK. cat NULL: not known. The
 * caller must know that the client has no temporary objects. Memoised like sql_effects. */
enum sql_standby sql_standby(struct facts *f, const struct catalog *cat);

/* A few lower-case words, for the console, metrics and EXPLAIN ROUTE. Never NULL. */
const char *sql_standby_name(enum sql_standby why);

#endif
