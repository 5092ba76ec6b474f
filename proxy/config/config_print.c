/* config_print.c - the sample file and the manual's tables, made from the schema.
 *
 * Called by main (--print-sample, --print-manual); `make docs-check` compares the output with
 * etc/penstock.ini and docs/configuration.md, so that table, sample and manual cannot drift apart.
 */
#include "base/base.h"

#include "proxy/config/config.h"

#include "proxy/config/config_entry.h"

static const char head[] =
    ";; penstock.ini - every option with its default, switched off by a semicolon.\n"
    ";;\n"
    ";; A comment needs a line of its own. Times are in seconds and may have fractions.\n"
    ";; A file with a [pgbouncer] section gets PgBouncer's defaults, any other file those below.\n"
    ";; \"%include FILE\" reads another file in this place.\n"
    "\n"
    "[databases]\n"
    ";; name = key=value ...   Text with blanks: 'in quotes'. The name * stands for all others.\n"
    ";app = host=127.0.0.1 port=5432 dbname=app\n"
    ";report = host=10.0.0.1,10.0.0.2 pool_mode=session pool_size=5\n"
    ";* = host=127.0.0.1\n"
    ";;\n"
    ";; keys: host, port, load_balance_hosts (round-robin, disable),\n";

/* One name more of a comment that lists names; starts a new line when this one is full. */
static void print_key(FILE *out, const char *name, size_t *column)
{
    size_t n = strlen(name);
    if (*column > 0 && *column + n > 76) {
        fputs(",\n", out);
        *column = 0;
    }
    fprintf(out, "%s%s", *column == 0 ? ";; " : ", ", name);
    *column += n + 2;
}

static void print_keys(FILE *out, unsigned scope)
{
    size_t column = 0;
    for (size_t i = 0; i < config_entry_texts_count && scope == CONFIG_IN_DATABASE; i++)
        print_key(out, config_entry_texts[i].name, &column);
    for (size_t i = 0; i < config_entry_limits_count; i++) {
        if ((config_entry_limits[i].scopes & scope) != 0)
            print_key(out, config_entry_limits[i].name, &column);
    }
    fputc('\n', out);
}

static void print_values(FILE *out, const struct config_option *o)
{
    fputs(";; values: ", out);
    for (const struct config_enum *v = o->values; v->name != NULL; v++)
        fprintf(out, "%s%s", v == o->values ? "" : ", ", v->name);
    fputc('\n', out);
}

static void print_option(FILE *out, const struct config_option *o)
{
    const char *def = o->sample != NULL ? o->sample : config_schema_default(o, true, NULL);
    fprintf(out, "\n;; %s\n", o->help);
    if (o->inert != NULL)
        fprintf(out, ";; It has no effect: %s.\n", o->inert);
    if (o->unit != NULL)
        fprintf(out, ";; unit: %s\n", o->unit);
    if (o->values != NULL)
        print_values(out, o);
    if (o->restart)
        fputs(";; A change needs a restart.\n", out);
    if (o->codec != CONFIG_CODEC_NONE)
        fprintf(out, ";; default: that of the database's protocol\n;%s =\n", o->name);
    else
        fprintf(out, ";%s =%s%s\n", o->name, def[0] != '\0' ? " " : "", def);
}

static void print_cache(FILE *out)
{
    fputs("\n[cache]\n;; The result cache. It is off until there is a rule.\n", out);
    for (size_t i = 0; i < config_cache_schema_count; i++)
        print_option(out, &config_cache_schema[i]);
    fputs("\n;; [cache NAME] is a rule:\n"
          ";;   [cache balance]\n"
          ";;   query =\n"
          ";;     SELECT balance FROM app.accounts\n"
          ";;     WHERE user_id = $1\n"
          ";;   key = balance:$1\n"
          ";;   ttl = 300\n;;\n;; keys: ",
          out);
    for (size_t i = 0; i < config_cache_rule_schema_count; i++)
        fprintf(out, "%s, ", config_cache_rule_schema[i].name);
    fputs("table.NAME\n", out);
}

void config_print_sample(FILE *out)
{
    fputs(head, out);
    print_keys(out, CONFIG_IN_DATABASE);
    fputs("\n[users]\n;; name = key=value ...   Limits of one user.\n"
          ";batch = pool_mode=session pool_size=4 query_timeout=600\n;;\n;; keys:\n",
          out);
    print_keys(out, CONFIG_IN_USER);
    fputs("\n[peers]\n;; number = host=... port=... pool_size=...\n;2 = host=10.0.0.2 port=6432\n"
          "\n;; A primary and its replicas; entries name it with cluster=main.\n;[cluster main]\n",
          out);
    for (size_t i = 0; i < config_cluster_options_count; i++)
        print_option(out, &config_cluster_options[i]);
    fputs("\n;; Where statements go that match, the first rule first.\n"
          ";rule = primary SELECT * FROM queue*\n",
          out);
    print_cache(out);
    fputs("\n[penstock]\n", out);
    for (size_t i = 0; i < config_schema_count; i++) {
        if (!config_schema[i].hidden)
            print_option(out, &config_schema[i]);
    }
}

/* Text for a table cell. */
static void cell(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '|' || *text == '<' || *text == '*')
            fputc('\\', out);
        fputc(*text, out);
    }
}

static void manual_default(FILE *out, const struct config_option *o, bool penstock)
{
    if (o->codec != CONFIG_CODEC_NONE) {
        fputs("the protocol's", out);
        return;
    }
    const char *text = config_schema_default(o, penstock, NULL);
    if (text[0] == '\0')
        fputs("(empty)", out);
    else
        fprintf(out, "`%s`", text);
}

static void manual_row(FILE *out, const struct config_option *o)
{
    fprintf(out, "| %s | ", o->name);
    manual_default(out, o, false);
    if (o->penstock_def != NULL) {
        fputs("; [penstock]: ", out);
        manual_default(out, o, true);
    }
    fprintf(out, " | %s | %s | ", o->unit != NULL ? o->unit : "", o->restart ? "no" : "yes");
    cell(out, o->help);
    if (o->values != NULL) {
        fputs(" Values: ", out);
        for (const struct config_enum *v = o->values; v->name != NULL; v++)
            fprintf(out, "%s%s", v == o->values ? "" : ", ", v->name);
        fputc('.', out);
    }
    if (o->ours)
        fputs(" Not in PgBouncer.", out);
    if (o->differs != NULL) {
        fputs(" Unlike PgBouncer: ", out);
        cell(out, o->differs);
    }
    if (o->inert != NULL) {
        fputs(" No effect: ", out);
        cell(out, o->inert);
        fputc('.', out);
    }
    fputs(" |\n", out);
}

static void manual_entries(FILE *out)
{
    fputs(
        "\n### [databases] and [users]\n\n"
        "A value in the entry of the user counts before that of the database, and this before the\n"
        "global option.\n\n| key | in | global option |\n|---|---|---|\n",
        out);
    for (size_t i = 0; i < config_entry_limits_count; i++) {
        const struct config_limit_key *k = &config_entry_limits[i];
        const char *where = k->scopes == CONFIG_IN_DATABASE ? "databases"
                            : k->scopes == CONFIG_IN_USER   ? "users"
                                                            : "databases, users";
        fprintf(out, "| %s | %s | %s |\n", k->name, where, k->global);
    }
    fputs("\n### [databases] only\n\n| key | meaning |\n|---|---|\n"
          "| host | Name, address, /folder or @abstract socket, or a comma list of them; unset: "
          "the socket in unix_socket_dir. |\n"
          "| port | One port, or a comma list with one for each host. |\n"
          "| load_balance_hosts | round-robin (default) or disable: always begin with the first "
          "host. |\n"
          "| route | With cluster. auto (default): what is proved to be a read may go to replicas; "
          "primary: nothing does; replica: everything does. |\n",
          out);
    for (size_t i = 0; i < config_entry_texts_count; i++)
        fprintf(out, "| %s | %s |\n", config_entry_texts[i].name, config_entry_texts[i].help);
    fputs(
        "\n### [peers]\n\n`NUMBER = host=... port=6432 pool_size=...`, numbers from 1 to 65535; "
        "host must be there: a name, an address, or the /folder or @abstract name of a Unix "
        "socket.\n\n"
        "A cancel request is a connection of its own. Where several processes share a port "
        "(so_reuseport) or stand behind one address, it may come to a process that does not know "
        "the client. The key says which process does, if that one has a peer_id; a process with a "
        "peer_id passes the request on to the peer of that number, in the clear, and at most "
        "three times in all. pool_size (default: default_pool_size; 0: no limit) is how many are "
        "passed on to one peer at a time; more wait, up to cancel_wait_timeout. Give each process "
        "its own peer_id and list of peers; its own number in the list does nothing. PgBouncer "
        "and Penstock can be peers of each other: keys have PgBouncer's layout, but PgBouncer "
        "takes no long keys (protocol 3.2). A listener that demands a PROXY header takes no "
        "requests from peers. Clients that logged in before peer_id was set or changed are known "
        "to their own process only.\n",
        out);
}

static void manual_clusters(FILE *out)
{
    fputs(
        "\n### [cluster NAME]\n\n"
        "The nodes that replicate one primary. A database entry leads there with cluster=NAME, and "
        "its pool_size then counts for each node.\n\n"
        "| key | default | unit | reload | meaning |\n|---|---|---|---|---|\n",
        out);
    for (size_t i = 0; i < config_cluster_options_count; i++)
        manual_row(out, &config_cluster_options[i]);
    fputs(
        "\n`rule = WHERE QUERY`, any number of times: where statements go that match, the first "
        "rule "
        "first. WHERE is primary, replica (demanded: what a replica cannot do fails there), "
        "prefer-replica or auto. QUERY is `digest:` and the 16 digits of SHOW STATEMENTS, or a "
        "pattern over the text with $1, $2 ... for its constants, in which \\* stands for any run "
        "of characters.\n",
        out);
}

static void manual_cache(FILE *out)
{
    fputs("\n### [cache]\n\nThe result cache is off until there is a rule. docs/cache.md says "
          "what it promises.\n\n"
          "| key | default | unit | reload | meaning |\n|---|---|---|---|---|\n",
          out);
    for (size_t i = 0; i < config_cache_schema_count; i++)
        manual_row(out, &config_cache_schema[i]);
    fputs("\n### [cache NAME]\n\n"
          "| key | default | unit | reload | meaning |\n|---|---|---|---|---|\n",
          out);
    for (size_t i = 0; i < config_cache_rule_schema_count; i++)
        manual_row(out, &config_cache_rule_schema[i]);
    fputs("| table.NAME | (empty) |  | yes | A table that the query reads, and the column that the "
          "first parameter of the key is compared with, or \\*; for what cannot be derived from "
          "the statement. |\n",
          out);
}

void config_print_manual(FILE *out)
{
    fputs("### [pgbouncer] and [penstock]\n\n"
          "Both are the same section. When a file has a [pgbouncer] section, PgBouncer's defaults\n"
          "hold, otherwise those marked [penstock].\n\n"
          "| key | default | unit | reload | meaning |\n|---|---|---|---|---|\n",
          out);
    for (size_t i = 0; i < config_schema_count; i++)
        manual_row(out, &config_schema[i]);
    manual_entries(out);
    manual_clusters(out);
    manual_cache(out);
}
