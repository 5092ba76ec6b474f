/* config_schema.h - one table that describes every option of [pgbouncer] and [penstock].
 *
 * The parser, SHOW CONFIG, SET, the sample file and the manual are made from this table; an option
 * that is not here does not exist.  The order is that of SHOW CONFIG; options that PgBouncer does
 * not have come last. struct config_options holds the values.  Texts are never NULL: empty means
 * unset.  They are owned by the snapshot (config.h).  Times are in microseconds; 0 means "no limit"
 * for timeouts. Read-only data, any thread.
 */
#ifndef PENSTOCK_PROXY_CONFIG_SCHEMA_H
#define PENSTOCK_PROXY_CONFIG_SCHEMA_H

#include "base/base.h"
#include "base/clock.h"
#include "base/log.h"
#include "proxy/net/tls_ctx.h"

struct wire;

enum config_pool_mode {
    CONFIG_POOL_UNSET = -1, /* in entries only */
    CONFIG_POOL_SESSION,
    CONFIG_POOL_TRANSACTION,
    CONFIG_POOL_STATEMENT,
};

enum config_auth {
    CONFIG_AUTH_ANY,
    CONFIG_AUTH_TRUST,
    CONFIG_AUTH_PLAIN,
    CONFIG_AUTH_MD5,
    CONFIG_AUTH_CERT,
    CONFIG_AUTH_HBA,
    CONFIG_AUTH_LDAP,
    CONFIG_AUTH_PAM,
    CONFIG_AUTH_SCRAM,
};

enum config_proxy_protocol {
    CONFIG_PROXY_OFF,
    CONFIG_PROXY_OPTIONAL, /* a header is used when there is one */
    CONFIG_PROXY_ON,       /* a connection without a header is closed */
};

struct config_options { /* in the order of SHOW CONFIG */
    const char *admin_users;
    bool application_name_add_host;
    const char *auth_dbname, *auth_file, *auth_hba_file, *auth_ident_file, *auth_ldap_options;
    const char *auth_query;
    enum config_auth auth_type;
    const char *auth_user;
    usec_t autodb_idle_timeout, cancel_wait_timeout, client_idle_timeout, client_login_timeout;
    const char *client_tls13_ciphers, *client_tls_ca_file, *client_tls_cert_file;
    const char *client_tls_ciphers, *client_tls_dheparams, *client_tls_ecdhcurve;
    const char *client_tls_key_file, *client_tls_protocols;
    enum tls_mode client_tls_sslmode;
    const char *conffile;
    int default_pool_size;
    bool disable_pqexec;
    usec_t dns_max_ttl, dns_nxdomain_ttl, dns_zone_check_period;
    usec_t idle_transaction_timeout;
    const char *ignore_startup_parameters, *job_name, *listen_addr;
    int listen_backlog, listen_port;
    bool log_connections, log_disconnections, log_pooler_errors, log_stats;
    const char *logfile, *login_notify_message;
    int max_client_conn, max_db_client_connections, max_db_connections, max_packet_size;
    int max_prepared_statements, max_user_client_connections, max_user_connections;
    int min_pool_size, peer_id;
    const char *pidfile;
    int pkt_buf;
    enum config_pool_mode pool_mode;
    usec_t pool_idle_timeout, query_timeout, query_wait_notify, query_wait_timeout;
    int reserve_pool_size;
    usec_t reserve_pool_timeout;
    const char *resolv_conf;
    int sbuf_loopcnt, scram_iterations;
    usec_t server_check_delay;
    const char
        *server_check_query; /* "<empty>": the protocol's cheapest round trip; "": no check */
    usec_t server_connect_timeout;
    bool server_fast_close;
    usec_t server_idle_timeout, server_lifetime, server_login_retry;
    const char *server_reset_query;
    bool server_reset_query_always, server_round_robin;
    const char *server_tls13_ciphers, *server_tls_ca_file, *server_tls_cert_file;
    const char *server_tls_ciphers, *server_tls_key_file, *server_tls_protocols;
    enum tls_mode server_tls_sslmode;
    const char *service_name;
    bool so_reuseport;
    usec_t stats_period;
    const char *stats_users;
    usec_t suspend_timeout;
    bool syslog;
    const char *syslog_facility, *syslog_ident;
    int tcp_defer_accept;
    bool tcp_keepalive;
    int tcp_keepcnt, tcp_keepidle, tcp_keepintvl, tcp_socket_buffer;
    int tcp_user_timeout; /* milliseconds */
    const char *track_extra_parameters;
    usec_t transaction_timeout;
    const char *unix_socket_dir, *unix_socket_group;
    int unix_socket_mode;
    const char *user;
    int verbose;
    /* ours */
    bool client_direct_tls;
    bool http_auth;
    const char *http_listen;
    enum log_format log_format;
    usec_t log_min_duration; /* 0: nothing */
    int log_min_duration_sample;
    bool log_parameters;
    int64_t max_buffer_memory; /* bytes; 0: no limit */
    int max_pinned, max_waiting, multiplex_depth;
    usec_t pin_timeout;
    enum config_proxy_protocol proxy_protocol;
    usec_t shutdown_timeout, upgrade_timeout;
    int64_t sql_cache_memory; /* bytes per worker */
    bool track_statements;
    int64_t track_statements_memory; /* bytes per worker */
    int workers;                     /* 0: one per core */
};

enum config_type {
    CONFIG_BOOL,   /* bool */
    CONFIG_INT,    /* int; decimal, 0x hexadecimal or 0 octal, as PgBouncer reads them */
    CONFIG_MODE,   /* int; file mode bits */
    CONFIG_SIZE,   /* int64_t; bytes, or with kB, MB, GB */
    CONFIG_TIME,   /* usec_t; written in seconds with fractions */
    CONFIG_STRING, /* const char * */
    CONFIG_ENUM,   /* an enum; one of values */
};

/* texts that the protocol supplies (struct wire) */
enum config_codec_default {
    CONFIG_CODEC_NONE,
    CONFIG_CODEC_RESET_QUERY,
    CONFIG_CODEC_AUTH_QUERY,
};

struct config_enum { /* ended by a NULL name */
    const char *name;
    int value;
};

struct config_option {
    const char *name;
    size_t offset; /* into struct config_options */
    int64_t min,
        max;         /* INT, MODE, SIZE; STRING: max is the length in bytes, 0 = the file's limit */
    const char *def; /* PgBouncer's default, as text; NULL: codec says */
    const char *penstock_def;         /* default of [penstock] where it differs, else NULL */
    const struct config_enum *values; /* ENUM */
    const char *unit;                 /* for people; NULL: none */
    const char *help;                 /* one sentence */
    const char *sample;               /* shown in the sample file; NULL: the default */
    const char *inert;                /* why the value has no effect here; NULL: it acts */
    /* what is otherwise than in PgBouncer, beyond being inert; NULL: nothing */
    const char *differs;
    enum config_type type;
    enum config_codec_default codec;
    bool restart; /* not reloadable: keeps its value until the process starts again */
    bool ours;    /* PgBouncer does not know it */
    bool hidden;  /* accepted, but not listed by SHOW CONFIG */
};

extern const struct config_option config_schema[];
extern const size_t config_schema_count;

extern const struct config_enum config_schema_pool_modes[];

/* The default text of o: that of [pgbouncer], or with penstock that of [penstock]. wire supplies
 * the texts that belong to its protocol and may be NULL (then these are empty). Never NULL. */
const char *config_schema_default(const struct config_option *o, bool penstock,
                                  const struct wire *wire);

#endif
