/* config_cache_schema.c - the rows of [cache] and [cache NAME]; see config_cache.h. */
#include "base/base.h"

#include "proxy/config/config_cache.h"

#define TTL_MAX (INT64_C(31536000) * USEC_PER_SEC) /* a year */
#define RESULT_MAX (INT64_C(16) << 20)

#define OPTION(field, t)                                                                           \
    .name = #field, .type = (t), .offset = offsetof(struct config_cache_options, field)
#define RULE(field, t)                                                                             \
    .name = #field, .type = (t), .offset = offsetof(struct config_cache_rule, field)

static const struct config_enum modes[] = {
    {"off", CONFIG_CACHE_OFF},       {"ttl", CONFIG_CACHE_TTL},
    {"lease", CONFIG_CACHE_LEASE},   {"bounded", CONFIG_CACHE_BOUNDED},
    {"strict", CONFIG_CACHE_STRICT}, {NULL, 0},
};

static const struct config_enum without_redis[] = {
    {"proceed", CACHE_PROCEED},
    {"hold", CACHE_HOLD},
    {"refuse", CACHE_REFUSE},
    {NULL, 0},
};

static const struct config_enum sslmodes[] = {
    {"require", TLS_REQUIRE},
    {"verify-ca", TLS_VERIFY_CA},
    {"verify-full", TLS_VERIFY_FULL},
    {NULL, 0},
};

const struct config_option config_cache_schema[] = {
    {OPTION(local_ttl, CONFIG_TIME), .def = "0", .min = 0, .max = TTL_MAX, .unit = "seconds",
     .help = "Mode ttl with Redis, for rules that do not say: how long of its ttl an answer from "
             "Redis may also be served from this process's memory, without asking Redis. What "
             "other processes write, and a DEL by the application, is seen that much later."},
    {OPTION(max_result, CONFIG_SIZE), .def = "64kB", .min = 0, .max = RESULT_MAX, .unit = "bytes",
     .help = "Larger answers are not kept; a rule may say otherwise."},
    {OPTION(memory, CONFIG_SIZE), .def = "64MB", .min = 0, .max = INT64_MAX, .unit = "bytes",
     .help = "Room for answers in this process, all workers together; the least recently used go "
             "first."},
    {OPTION(mode, CONFIG_ENUM), .def = "lease", .values = modes,
     .help = "How answers are kept right, for rules that do not say: ttl, for their time only; "
             "lease, until something that may change them is written through this process. "
             "bounded and strict are not in this release and are refused."},
    {OPTION(prefix, CONFIG_STRING), .def = "",
     .help = "Put before every key in Redis, at most 64 bytes."},
    {OPTION(redis_members, CONFIG_INT), .def = "0", .min = 0, .max = 16,
     .help = "Mode lease with Redis: how many processes share it; while fewer are there nothing is "
             "served from it. 0: those that have ever come and not left."},
    {OPTION(redis_name, CONFIG_STRING), .def = "",
     .help =
         "Mode lease with Redis: the name of this process among those that share it, at most 40 "
         "letters, digits and . _ : -. It must be another for each, and the same after a "
         "restart. Unset: HOST:PORT with listen_port, and peer_id if there is one."},
    {OPTION(redis_password, CONFIG_STRING), .def = "",
     .help = "Password of Redis, instead of one in store: the text, file:/path or env:NAME."},
    {OPTION(redis_timeout, CONFIG_TIME), .def = "0.002", .min = 100, .max = USEC_PER_SEC,
     .unit = "seconds",
     .help = "How long a client may wait for Redis; then the database is asked."},
    {OPTION(redis_tls_ca_file, CONFIG_STRING), .def = "",
     .help = "With rediss://: CAs that Redis' certificate must come from; unset: those of the "
             "system."},
    {OPTION(redis_tls_cert_file, CONFIG_STRING), .def = "",
     .help = "With rediss://: the certificate that is shown to Redis."},
    {OPTION(redis_tls_key_file, CONFIG_STRING), .def = "", .help = "Key of redis_tls_cert_file."},
    {OPTION(redis_tls_sslmode, CONFIG_ENUM), .def = "verify-full", .values = sslmodes,
     .help = "With rediss://: what of Redis' certificate is verified. require: nothing."},
    {OPTION(store, CONFIG_STRING), .def = "memory",
     .help = "Where answers are kept. memory: that of this process alone; lease is then exclusive: "
             "all writers must use this one process, so [peers] and so_reuseport are refused. "
             "redis://USER:PASSWORD@HOST:PORT/DATABASE: in Redis, for all that use it; in mode "
             "lease all of them must have the same rules. rediss:// is the same with TLS."},
    {OPTION(wait, CONFIG_TIME), .def = "0.02", .min = 0, .max = USEC_PER_SEC, .unit = "seconds",
     .help = "How long a read may wait for the end of a write to its own key, or for another "
             "process that fetches the same answer; then the database is asked. 0: not at all."},
    {OPTION(write_without_redis, CONFIG_ENUM), .def = "hold", .values = without_redis,
     .help =
         "Mode lease with Redis: what becomes of a write that Redis could not be told of. hold: "
         "it waits about a tenth of a second, until all other processes have noticed that this "
         "one is cut off and serve nothing. refuse: the client is told an error. proceed: it "
         "goes on at once, and others may serve what it has changed until its time is over."},
};
const size_t config_cache_schema_count = ARRAY_LEN(config_cache_schema);

const struct config_option config_cache_rule_schema[] = {
    {RULE(functions, CONFIG_STRING), .def = "",
     .help = "Comma-separated functions of your own that the query may call because they read "
             "nothing but the tables of the rule and always give the same answer for them."},
    {RULE(key, CONFIG_STRING), .def = "",
     .help = "Name of an entry: a text with the query's parameters in it, as in balance:$1. Must "
             "be given."},
    {RULE(local_ttl, CONFIG_TIME), .def = "", .min = 0, .max = TTL_MAX, .unit = "seconds",
     .help =
         "Of ttl, and below it: how long an answer from Redis may be served from memory; unset: "
         "that of [cache]. Refused in mode lease."},
    {RULE(max_result, CONFIG_SIZE), .def = "", .min = 0, .max = RESULT_MAX, .unit = "bytes",
     .help = "Larger answers are not kept; unset: that of [cache]."},
    {RULE(mode, CONFIG_ENUM), .def = "", .values = modes,
     .help = "How the answers of this rule are kept right; unset: that of [cache]."},
    {RULE(query, CONFIG_STRING), .def = "",
     .help = "The statement whose answers are kept, with parameters as $1, $2, ...; it may go on "
             "in lines that begin with a blank. What a client sends must be the same but for "
             "blanks, comments, letter case and the values of the parameters, which may be "
             "constants there. Must be given."},
    {RULE(ttl, CONFIG_TIME), .def = "300", .min = 1000, .max = TTL_MAX, .unit = "seconds",
     .help = "An answer is kept for so long at most; up to a tenth less, so that many do not end "
             "at once."},
    {RULE(users, CONFIG_STRING), .def = "",
     .help = "Comma-separated users who share their entries, because they may see the same; unset: "
             "each user has entries of its own."},
};
const size_t config_cache_rule_schema_count = ARRAY_LEN(config_cache_rule_schema);
