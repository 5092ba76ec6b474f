/* config_schema.c - the rows of config_schema.h.
 *
 * A new option is one field in struct config_options and one row here; everything else (parsing,
 * SHOW CONFIG, SET, the sample, the manual) follows.  The order is that of SHOW CONFIG.
 * A row whose value does nothing says why in `inert`; the manual prints that.
 */
#include "base/base.h"

#include "proxy/config/config_schema.h"

#include "protocol/wire.h"

#define CONFIG_TIME_MAX (INT64_C(100000000000) * USEC_PER_SEC)

#define OPTION(field, t)                                                                           \
    .name = #field, .type = (t), .offset = offsetof(struct config_options, field)

const struct config_enum config_schema_pool_modes[] = {
    {"session", CONFIG_POOL_SESSION},
    {"transaction", CONFIG_POOL_TRANSACTION},
    {"statement", CONFIG_POOL_STATEMENT},
    {NULL, 0},
};

static const struct config_enum auth_types[] = {
    {"any", CONFIG_AUTH_ANY},
    {"trust", CONFIG_AUTH_TRUST},
    {"plain", CONFIG_AUTH_PLAIN},
    {"md5", CONFIG_AUTH_MD5},
    {"cert", CONFIG_AUTH_CERT},
    {"hba", CONFIG_AUTH_HBA},
    {"ldap", CONFIG_AUTH_LDAP},
    {"pam", CONFIG_AUTH_PAM},
    {"scram-sha-256", CONFIG_AUTH_SCRAM},
    {NULL, 0},
};

static const struct config_enum sslmodes[] = {
    {"disable", TLS_DISABLE},
    {"allow", TLS_ALLOW},
    {"prefer", TLS_PREFER},
    {"require", TLS_REQUIRE},
    {"verify-ca", TLS_VERIFY_CA},
    {"verify-full", TLS_VERIFY_FULL},
    {NULL, 0},
};

static const struct config_enum proxy_protocols[] = {
    {"off", CONFIG_PROXY_OFF},
    {"optional", CONFIG_PROXY_OPTIONAL},
    {"on", CONFIG_PROXY_ON},
    {NULL, 0},
};

static const struct config_enum log_formats[] = {
    {"text", LOG_FORMAT_TEXT},
    {"json", LOG_FORMAT_JSON},
    {NULL, 0},
};

const struct config_option config_schema[] = {
    {OPTION(admin_users, CONFIG_STRING), .def = "",
     .help = "Comma-separated users who may run every console command."},
    {OPTION(application_name_add_host, CONFIG_BOOL), .def = "0",
     .help = "Append the address and port of the client to its application_name when it connects."},
    {OPTION(auth_dbname, CONFIG_STRING), .def = "",
     .help = "Database entry in which auth_query runs; unset: the one the client asked for."},
    {OPTION(auth_file, CONFIG_STRING), .def = "",
     .help = "File with the names and secrets of users."},
    {OPTION(auth_hba_file, CONFIG_STRING), .def = "",
     .help = "Host based access rules, used with auth_type = hba."},
    {OPTION(auth_ident_file, CONFIG_STRING), .def = "",
     .help = "User name maps for cert and peer lines of the access rules."},
    {OPTION(auth_ldap_options, CONFIG_STRING), .def = "",
     .help = "Options of the LDAP login, used with auth_type = ldap."},
    {OPTION(auth_query, CONFIG_STRING), .codec = CONFIG_CODEC_AUTH_QUERY,
     .help = "Query that returns name and secret of the user $1 from the server."},
    {OPTION(auth_type, CONFIG_ENUM), .def = "md5", .penstock_def = "scram-sha-256",
     .values = auth_types, .help = "How clients prove who they are."},
    {OPTION(auth_user, CONFIG_STRING), .def = "",
     .help = "Server user that runs auth_query; unset: auth_query is not used."},
    {OPTION(autodb_idle_timeout, CONFIG_TIME), .def = "3600", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds",
     .help = "Forget a database that came from the * entry after it was unused for so long."},
    {OPTION(cancel_wait_timeout, CONFIG_TIME), .def = "10", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds",
     .help = "Give up a cancel request that found no server connection for so long."},
    {OPTION(client_idle_timeout, CONFIG_TIME), .def = "0", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds",
     .help = "Close clients that sent nothing for so long outside a transaction.",
     .differs = "Clients get an error with the code that the database itself would give."},
    {OPTION(client_login_timeout, CONFIG_TIME), .def = "60", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Close clients that did not finish their login within this time."},
    {OPTION(client_tls13_ciphers, CONFIG_STRING), .def = "",
     .help = "TLS 1.3 suites offered to clients."},
    {OPTION(client_tls_ca_file, CONFIG_STRING), .def = "",
     .help = "Certificate authority that signs client certificates."},
    {OPTION(client_tls_cert_file, CONFIG_STRING), .def = "",
     .help = "Own certificate, shown to clients."},
    {OPTION(client_tls_ciphers, CONFIG_STRING), .def = "default",
     .help = "Ciphers for clients up to TLS 1.2."},
    {OPTION(client_tls_dheparams, CONFIG_STRING), .def = "auto",
     .help = "Diffie-Hellman parameters: none, auto or legacy."},
    {OPTION(client_tls_ecdhcurve, CONFIG_STRING), .def = "auto",
     .help = "Elliptic curve: none, auto or a name."},
    {OPTION(client_tls_key_file, CONFIG_STRING), .def = "", .help = "Key of client_tls_cert_file."},
    {OPTION(client_tls_protocols, CONFIG_STRING), .def = "secure",
     .help = "TLS versions for clients: secure, all or a list."},
    {OPTION(client_tls_sslmode, CONFIG_ENUM), .def = "disable", .values = sslmodes,
     .help = "Whether clients may or must use TLS, and whether their certificates are verified."},
    {OPTION(conffile, CONFIG_STRING), .def = "",
     .help = "File that the next RELOAD reads; unset: the one of the command line."},
    {OPTION(default_pool_size, CONFIG_INT), .def = "20", .min = 0, .max = INT32_MAX,
     .unit = "connections",
     .help = "Server connections per pool; 0: no limit. One more listens while clients of the pool "
             "use LISTEN."},
    {OPTION(disable_pqexec, CONFIG_BOOL), .def = "0", .restart = true,
     .help = "Refuse the simple query protocol."},
    {OPTION(dns_max_ttl, CONFIG_TIME), .def = "15", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Keep the addresses of a host name for so long."},
    {OPTION(dns_nxdomain_ttl, CONFIG_TIME), .def = "15", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Keep the failure to resolve a host name for so long."},
    {OPTION(dns_zone_check_period, CONFIG_TIME), .def = "0", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Poll the serial of DNS zones for changes.",
     .inert = "host names are resolved again after dns_max_ttl, whatever the zone says"},
    {OPTION(idle_transaction_timeout, CONFIG_TIME), .def = "0", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Close clients that are idle inside a transaction for so long.",
     .differs = "Clients get an error with the code that the database itself would give."},
    {OPTION(ignore_startup_parameters, CONFIG_STRING), .def = "",
     .help = "Comma-separated start-up parameters of clients that are swallowed.",
     .differs = "Settings of the database need not be named here: each is accepted and follows its "
                "client."},
    {OPTION(job_name, CONFIG_STRING), .def = "pgbouncer", .restart = true,
     .help = "Name of the Windows service.", .inert = "there is no Windows service"},
    {OPTION(listen_addr, CONFIG_STRING), .def = "", .penstock_def = "127.0.0.1", .restart = true,
     .help = "Comma-separated addresses to listen on; * is all of them, empty is no TCP at all."},
    {OPTION(listen_backlog, CONFIG_INT), .def = "128", .min = 1, .max = INT32_MAX,
     .unit = "connections", .restart = true, .help = "Connections that may wait to be accepted."},
    {OPTION(listen_port, CONFIG_INT), .def = "6432", .min = 1, .max = 65535, .restart = true,
     .help = "TCP port; also part of the name of the Unix socket."},
    {OPTION(log_connections, CONFIG_BOOL), .def = "1", .help = "Log successful logins."},
    {OPTION(log_disconnections, CONFIG_BOOL), .def = "1",
     .help = "Log the end of connections with the reason."},
    {OPTION(log_pooler_errors, CONFIG_BOOL), .def = "1",
     .help = "Log the errors that are sent to clients."},
    {OPTION(log_stats, CONFIG_BOOL), .def = "1",
     .help = "Log a line of statistics each stats_period."},
    {OPTION(logfile, CONFIG_STRING), .def = "", .help = "Log file; empty: standard error."},
    {OPTION(login_notify_message, CONFIG_STRING), .def = "",
     .help = "Notice that is sent to each client after its login."},
    {OPTION(max_client_conn, CONFIG_INT), .def = "100", .penstock_def = "10000", .min = 0,
     .max = INT32_MAX, .unit = "connections", .help = "Client connections of the whole process.",
     .differs = "Clients get an error with the code that the database itself would give."},
    {OPTION(max_db_client_connections, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX,
     .unit = "connections", .help = "Client connections per database entry; 0: no limit."},
    {OPTION(max_db_connections, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX,
     .unit = "connections", .help = "Server connections per database entry; 0: no limit."},
    {OPTION(max_packet_size, CONFIG_INT), .def = "2147483647", .min = 1, .max = INT32_MAX,
     .unit = "bytes", .help = "Largest message accepted from either side."},
    {OPTION(max_prepared_statements, CONFIG_INT), .def = "200", .min = 0, .max = INT32_MAX,
     .unit = "statements",
     .help = "Prepared statements kept per server connection; 0: statements are not tracked.",
     .differs = "Statements prepared with SQL are followed too, and a name that is taken or "
                "unknown is an error, no disconnect."},
    {OPTION(max_user_client_connections, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX,
     .unit = "connections", .help = "Client connections per user; 0: no limit."},
    {OPTION(max_user_connections, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX,
     .unit = "connections", .help = "Server connections per user; 0: no limit."},
    {OPTION(min_pool_size, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX,
     .unit = "connections",
     .help = "Keep at least so many server connections open in a pool that is in use."},
    {OPTION(peer_id, CONFIG_INT), .def = "0", .min = 0, .max = 65535,
     .help = "Own number among the peers that share clients; 0: none. Cancel requests that belong "
             "to one of [peers] are passed on to it."},
    {OPTION(pidfile, CONFIG_STRING), .def = "", .restart = true,
     .help = "File that holds the process number; empty: none."},
    {OPTION(pkt_buf, CONFIG_INT), .def = "4096", .min = 1, .max = INT32_MAX, .unit = "bytes",
     .restart = true, .help = "Size of the buffer of a busy connection.",
     .inert = "a worker has one buffer for all its connections"},
    {OPTION(pool_mode, CONFIG_ENUM), .def = "session", .penstock_def = "transaction",
     .values = config_schema_pool_modes, .help = "When a server connection returns to the pool."},
    {OPTION(pool_idle_timeout, CONFIG_TIME), .def = "0", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Forget a pool without connections after so long; 0: never."},
    {OPTION(query_timeout, CONFIG_TIME), .def = "0", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Cancel queries that run longer.",
     .differs = "The query is cancelled on the server, and the client stays connected."},
    {OPTION(query_wait_notify, CONFIG_TIME), .def = "5", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds",
     .help = "Tell a client with a notice when it has been waiting for a server for so long; 0: "
             "never."},
    {OPTION(query_wait_timeout, CONFIG_TIME), .def = "120", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Longest wait of a client for a server; 0: for ever.",
     .differs = "The query ends with an error, and the client stays connected."},
    {OPTION(reserve_pool_size, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX,
     .unit = "connections", .help = "Additional server connections of a pool in need."},
    {OPTION(reserve_pool_timeout, CONFIG_TIME), .def = "5", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds",
     .help =
         "How long a client must have waited before the reserve is used; 0: the reserve is off."},
    {OPTION(resolv_conf, CONFIG_STRING), .def = "", .restart = true,
     .help = "Private resolver configuration.", .inert = "the resolver of the system is used"},
    {OPTION(sbuf_loopcnt, CONFIG_INT), .def = "5", .min = 0, .max = INT32_MAX, .unit = "buffers",
     .help = "Buffers that one connection may process before the others have their turn.",
     .inert = "every connection has one read per turn of the loop"},
    {OPTION(scram_iterations, CONFIG_INT), .def = "4096", .min = 1, .max = INT32_MAX,
     .unit = "iterations",
     .help = "Iterations of the SCRAM verifiers that are made from plain passwords."},
    {OPTION(server_check_delay, CONFIG_TIME), .def = "30", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds",
     .help = "Check a server connection that was idle for longer before it is used again."},
    {OPTION(server_check_query, CONFIG_STRING), .def = "<empty>",
     .help =
         "Query of that check; <empty> is the cheapest round trip, nothing at all is no check."},
    {OPTION(server_connect_timeout, CONFIG_TIME), .def = "15", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Longest time for connecting and logging in to a server."},
    {OPTION(server_fast_close, CONFIG_BOOL), .def = "0",
     .help = "In session mode, close connections that must go as soon as they are idle, not when "
             "the client leaves."},
    {OPTION(server_idle_timeout, CONFIG_TIME), .def = "600", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Close server connections that were unused for so long; 0: never."},
    {OPTION(server_lifetime, CONFIG_TIME), .def = "3600", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Close unused server connections that are older."},
    {OPTION(server_login_retry, CONFIG_TIME), .def = "15", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Pause after a failed connect or login to a server.",
     .differs = "A pool that never had a server tells its clients at once, too."},
    {OPTION(server_reset_query, CONFIG_STRING), .codec = CONFIG_CODEC_RESET_QUERY,
     .help = "Run when a session ends, before the server is used by another client."},
    {OPTION(server_reset_query_always, CONFIG_BOOL), .def = "0",
     .help = "Run server_reset_query in every pool mode."},
    {OPTION(server_round_robin, CONFIG_BOOL), .def = "0",
     .help = "Use the server connection that was idle longest instead of the one used last; each "
             "worker among its own."},
    {OPTION(server_tls13_ciphers, CONFIG_STRING), .def = "",
     .help = "TLS 1.3 suites offered to servers."},
    {OPTION(server_tls_ca_file, CONFIG_STRING), .def = "",
     .help = "Certificate authority that signs server certificates."},
    {OPTION(server_tls_cert_file, CONFIG_STRING), .def = "",
     .help = "Certificate shown to servers."},
    {OPTION(server_tls_ciphers, CONFIG_STRING), .def = "default",
     .help = "Ciphers for servers up to TLS 1.2."},
    {OPTION(server_tls_key_file, CONFIG_STRING), .def = "", .help = "Key of server_tls_cert_file."},
    {OPTION(server_tls_protocols, CONFIG_STRING), .def = "secure",
     .help = "TLS versions for servers: secure, all or a list."},
    {OPTION(server_tls_sslmode, CONFIG_ENUM), .def = "prefer", .values = sslmodes,
     .help = "Whether servers may or must use TLS, and whether their certificates are verified. "
             "allow begins without TLS and prefer with it; what a server's access rules refuse is "
             "tried the other way. Cancel requests go as the server connection went."},
    {OPTION(service_name, CONFIG_STRING), .def = "", .restart = true, .hidden = true,
     .help = "Old name of job_name.", .inert = "there is no Windows service"},
    {OPTION(so_reuseport, CONFIG_BOOL), .def = "0", .restart = true,
     .help = "Share the TCP port with other processes.",
     .differs = "For one machine workers do the same within one process."},
    {OPTION(stats_period, CONFIG_TIME), .def = "60", .min = USEC_PER_SEC, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Window of averages and of the line of statistics."},
    {OPTION(stats_users, CONFIG_STRING), .def = "",
     .help = "Comma-separated users who may look at the console."},
    {OPTION(suspend_timeout, CONFIG_TIME), .def = "10", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Longest wait for buffers to empty after SUSPEND."},
    {OPTION(syslog, CONFIG_BOOL), .def = "0", .help = "Log to syslog."},
    {OPTION(syslog_facility, CONFIG_STRING), .def = "daemon", .help = "Facility of syslog."},
    {OPTION(syslog_ident, CONFIG_STRING), .def = "pgbouncer", .penstock_def = "penstock",
     .help = "Name of the program in syslog."},
    {OPTION(tcp_defer_accept, CONFIG_INT), .def = "1", .min = 0, .max = INT32_MAX,
     .help = "Let the kernel hand a connection over only when it brings data; 0: off."},
    {OPTION(tcp_keepalive, CONFIG_BOOL), .def = "1", .help = "Send keepalive probes."},
    {OPTION(tcp_keepcnt, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX, .unit = "probes",
     .help = "Unanswered probes before a connection is dead; 0: as the system does."},
    {OPTION(tcp_keepidle, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX, .unit = "seconds",
     .help = "Idle time before the first probe; 0: as the system does."},
    {OPTION(tcp_keepintvl, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX, .unit = "seconds",
     .help = "Time between two probes; 0: as the system does."},
    {OPTION(tcp_socket_buffer, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX, .unit = "bytes",
     .help = "Send and receive buffers of sockets; 0: as the system does."},
    {OPTION(tcp_user_timeout, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX,
     .unit = "milliseconds",
     .help = "How long sent data may stay without acknowledgement; 0: as the system does."},
    {OPTION(track_extra_parameters, CONFIG_STRING), .def = "IntervalStyle", .restart = true,
     .help = "Further settings whose values follow the client.",
     .inert = "every setting follows its client"},
    {OPTION(transaction_timeout, CONFIG_TIME), .def = "0", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .help = "Close clients whose transaction takes longer.",
     .differs = "Clients get an error with the code that the database itself would give."},
    {OPTION(unix_socket_dir, CONFIG_STRING), .def = "/tmp", .restart = true,
     .help = "Folder of the Unix socket, also for servers without a host; empty: no Unix socket."},
    {OPTION(unix_socket_group, CONFIG_STRING), .def = "", .restart = true,
     .help = "Group of the Unix socket."},
    {OPTION(unix_socket_mode, CONFIG_MODE), .def = "0777", .min = 0, .max = 07777, .restart = true,
     .help = "Permissions of the Unix socket."},
    {OPTION(user, CONFIG_STRING), .def = "", .restart = true,
     .help = "User of the operating system to become after start."},
    {OPTION(verbose, CONFIG_INT), .def = "0", .min = 0, .max = 3,
     .help = "How much is logged, 0 to 3."},
    {OPTION(client_direct_tls, CONFIG_BOOL), .def = "1", .ours = true,
     .help = "Accept clients that begin with a TLS handshake."},
    {OPTION(http_auth, CONFIG_BOOL), .def = "0", .ours = true,
     .help = "Ask who comes to the HTTP port for the name and the secret in auth_file of a user in "
             "admin_users or stats_users."},
    {OPTION(http_listen, CONFIG_STRING), .def = "", .restart = true, .ours = true,
     .help =
         "PORT or ADDRESS:PORT for HTTP: metrics, health, a page to look at; a port alone is on "
         "127.0.0.1; empty: none."},
    {OPTION(log_format, CONFIG_ENUM), .def = "text", .values = log_formats, .ours = true,
     .help = "Form of log lines: text, or json with one object a line."},
    {OPTION(log_min_duration, CONFIG_TIME), .def = "0", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .ours = true,
     .help = "Log requests that took so long, waiting for a server included; 0: none."},
    {OPTION(log_min_duration_sample, CONFIG_INT), .def = "100", .min = 0, .max = 100,
     .unit = "percent", .ours = true, .help = "How many of the requests over log_min_duration."},
    {OPTION(log_parameters, CONFIG_BOOL), .def = "0", .ours = true,
     .help = "Log the values of slow requests too; otherwise no constant of a statement is ever "
             "logged."},
    {OPTION(max_buffer_memory, CONFIG_SIZE), .def = "0", .min = 0, .max = INT64_MAX,
     .unit = "bytes", .ours = true,
     .help = "Memory of all connection buffers together; past it reading pauses, then the largest "
             "offender is closed; 0: no limit."},
    {OPTION(max_pinned, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX, .unit = "connections",
     .ours = true,
     .help =
         "Server connections per pool that clients may hold outside transactions; 0: no limit."},
    {OPTION(max_waiting, CONFIG_INT), .def = "0", .min = 0, .max = INT32_MAX, .unit = "clients",
     .ours = true,
     .help =
         "Clients per pool that may wait for a server; further ones get an error; 0: no limit."},
    {OPTION(multiplex_depth, CONFIG_INT), .def = "1", .penstock_def = "16", .min = 1, .max = 64,
     .unit = "requests", .ours = true,
     .help = "How many repeatable reads of different clients may be in flight on one server "
             "connection in transaction mode; 1: each request has one of its own."},
    {OPTION(pin_timeout, CONFIG_TIME), .def = "0", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .ours = true,
     .help = "Close clients that hold an idle server outside a transaction for so long; 0: never."},
    {OPTION(proxy_protocol, CONFIG_ENUM), .def = "off", .values = proxy_protocols, .restart = true,
     .ours = true,
     .help =
         "Whether TCP clients are announced by a PROXY header; optional trusts whoever sends one."},
    {OPTION(shutdown_timeout, CONFIG_TIME), .def = "0", .penstock_def = "30", .min = 0,
     .max = CONFIG_TIME_MAX, .unit = "seconds", .ours = true,
     .help = "How long SIGTERM lets transactions finish; clients outside of one are sent away at "
             "once. 0: it waits until all clients have left of their own accord."},
    {OPTION(sql_cache_memory, CONFIG_SIZE), .def = "16MB", .min = 0, .max = INT64_MAX,
     .unit = "bytes", .restart = true, .ours = true,
     .help = "Memory per worker for what is known of statements."},
    {OPTION(track_statements, CONFIG_BOOL), .def = "1", .ours = true,
     .help = "Keep statistics of statements (SHOW STATEMENTS)."},
    {OPTION(track_statements_memory, CONFIG_SIZE), .def = "4MB", .min = 65536, .max = INT64_MAX,
     .unit = "bytes", .ours = true,
     .help = "Memory per worker for statistics of statements; the least used ones give way."},
    {OPTION(upgrade_timeout, CONFIG_TIME), .def = "86400", .min = 0, .max = CONFIG_TIME_MAX,
     .unit = "seconds", .ours = true,
     .help = "How long a process whose successor has taken over keeps its clients; then they are "
             "sent away between transactions, within shutdown_timeout or 30 seconds. 0: until they "
             "leave."},
    {OPTION(workers, CONFIG_INT), .def = "0", .min = 0, .max = 64, .unit = "threads",
     .restart = true, .ours = true, .help = "Threads that serve clients; 0: one per core."},
};

const size_t config_schema_count = ARRAY_LEN(config_schema);

static const char *codec_default(enum config_codec_default which, const struct wire *wire)
{
    const char *text = NULL;
    switch (which) {
    case CONFIG_CODEC_NONE:
        break;
    case CONFIG_CODEC_RESET_QUERY:
        text = wire != NULL ? wire->reset_query : NULL;
        break;
    case CONFIG_CODEC_AUTH_QUERY:
        text = wire != NULL ? wire->auth_query : NULL;
        break;
    }
    return text != NULL ? text : "";
}

const char *config_schema_default(const struct config_option *o, bool penstock,
                                  const struct wire *wire)
{
    if (penstock && o->penstock_def != NULL)
        return o->penstock_def;
    return o->def != NULL ? o->def : codec_default(o->codec, wire);
}
