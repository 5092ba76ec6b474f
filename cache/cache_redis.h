/* cache_redis.h - commands to bytes (cache_redis.c), bytes to replies (cache_redis_reply.c), and
 * what a reply means to its command (cache_redis_answer.c).
 *
 * hiredis is used as a parser without socket (0.14 and 1.x; their tables of functions differ).
 * Nothing is allocated by a length that Redis announces; a reply longer than the reader's limit, or
 * of more than a few parts, ends the connection.  Worker thread.
 */
#ifndef PENSTOCK_CACHE_REDIS_H
#define PENSTOCK_CACHE_REDIS_H

#include "base/base.h"
#include "base/buf.h"
#include "base/status.h"
#include "base/str.h"
#include "cache/cache_lease.h"

#define CACHE_REDIS_PARTS 8     /* of an array */
#define CACHE_REDIS_MEMBERS 16  /* proxies on one Redis */
#define CACHE_REDIS_NAME_MAX 64 /* bytes of a member's name */

struct cache_redis_where {           /* what a command is about; unused ones empty */
    struct str prefix;               /* before every key; may be empty */
    struct str database, rule, name; /* name: of the entry ("balance:42") */
    struct str field;                /* of the variant */
    struct str member;               /* our own name; FORGET: whom */
    struct str members;              /* all names, with commas, as the answer to RENEW had them */
    struct str value;                /* STORE */
    uint64_t server;                 /* of the connection: a presence that was copied is none */
    uint64_t period_ms;              /* RENEW: of the presence */
    uint64_t definitions;            /* RENEW: the number that we know */
    bool defines;                    /* RENEW: we have changed some: it grows */
};

/* The names by which Redis knows our scripts. Constant once made; any thread. */
struct cache_redis_scripts {
    char sha[CACHE_CMD_COUNT][41];
};
void cache_redis_scripts(struct cache_redis_scripts *s);

/* Appends one command. Scripts go as EVALSHA; s NULL: with their text, after a NOSCRIPT. */
void cache_redis_command(const struct cache_redis_scripts *s, const struct cache_cmd *c,
                         const struct cache_redis_where *w, struct buf *out);
/* Any other command (AUTH, SELECT, HELLO, PING, INFO). */
void cache_redis_plain(const struct str *argv, int n, struct buf *out);

enum cache_reply_type {
    CACHE_REPLY_NIL,
    CACHE_REPLY_TEXT, /* string or status */
    CACHE_REPLY_INT,
    CACHE_REPLY_ARRAY,
    CACHE_REPLY_ERROR,
};

struct cache_reply {
    enum cache_reply_type type;
    int64_t integer;
    struct str text;
    int nparts;
    struct str parts[CACHE_REDIS_PARTS]; /* p NULL: nil; numbers as text */
};

struct cache_redis_reader;

/* limit: bytes of a reply. */
struct cache_redis_reader *cache_redis_reader_new(size_t limit);
void cache_redis_reader_free(struct cache_redis_reader **r);
/* Takes bytes in. ST_LIMIT, ST_INVALID: the connection is to be closed. */
enum status cache_redis_feed(struct cache_redis_reader *r, struct str bytes) ATTR_NODISCARD;
/* The next reply; borrowed until the next call. ST_AGAIN: more bytes are needed. */
enum status cache_redis_next(struct cache_redis_reader *r, struct cache_reply *out,
                             struct error *err) ATTR_NODISCARD;

/* What a reply to this command means. */
struct cache_answer cache_redis_answer(const struct cache_cmd *c, const struct cache_reply *reply);
/* The error that asks for the script's text: send the command again with eval. */
bool cache_redis_wants_script(const struct cache_reply *reply);
/* Out of memory: nothing is stored, but the connection is good. */
bool cache_redis_full(const struct cache_reply *reply);

#endif
