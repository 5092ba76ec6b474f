/* pg_wire.c - PostgreSQL behind protocol/wire.h: the table, and the operations without a
 * connection.
 *
 * Called by proxy/ through pg_wire.  Holds no state.
 */
#include "protocol/wire.h"

#include "protocol/pg/pg_answer.h"
#include "protocol/pg/pg_catalog.h"
#include "protocol/pg/pg_catalog_details.h"
#include "protocol/pg/pg_client.h"
#include "protocol/pg/pg_frame.h"
#include "protocol/pg/pg_key.h"
#include "protocol/pg/pg_kill.h"
#include "protocol/pg/pg_node.h"
#include "protocol/pg/pg_server.h"
#include "protocol/pg/pg_startup.h"
#include "protocol/pg/pg_text.h"
#include "protocol/pg/pg_values.h"

static void cancel_bytes(const struct wire_key *key, struct outq *out)
{
    outq_put_be32(out, 8u + key->n);
    outq_put_be32(out, PG_STARTUP_CANCEL);
    outq_put(out, key->b, key->n);
}

const struct wire pg_wire = {
    .name = "postgresql",
    .default_port = 5432,
    .client_size = sizeof(struct pg_client),
    .server_size = sizeof(struct pg_server),

    .cl_init = pg_client_init,
    .cl_fini = pg_client_fini,
    .cl_feed = pg_client_feed,
    .cl_wants_server = pg_client_wants_server,
    .cl_unread = pg_client_unread,
    .cl_limits = pg_client_limits,
    .cl_tls_reply = pg_client_tls_reply,
    .cl_auth_start = pg_client_auth_start,
    .cl_auth = pg_client_auth_step,
    .cl_welcome = pg_client_welcome,
    .cl_raw = pg_client_raw,
    .cl_error = pg_client_error,
    .cl_notice = pg_client_notice,
    .cl_idle = pg_client_idle,
    .cl_vars = pg_client_vars,
    .cl_notify = pg_client_notify,
    .cl_upload = pg_client_upload,
    .cl_upload_over = pg_client_upload_over,
    .cl_ack = pg_client_ack,
    .cl_params = pg_client_params,
    .cl_no_data = pg_client_no_data,
    .cl_row_desc = pg_client_row_desc,
    .cl_row = pg_client_row,
    .cl_complete = pg_client_complete,
    .cl_suspended = pg_client_suspended,
    .rollback_tag = "ROLLBACK",
    .show_tag = "SHOW",
    .begin_tag = pg_node_begin_tag,
    .answers = &pg_answers,

    .sv_init = pg_server_init,
    .sv_fini = pg_server_fini,
    .sv_tls_request = pg_server_tls_request,
    .sv_open = pg_server_open,
    .sv_auth = pg_server_auth,
    .sv_feed = pg_server_feed,
    .sv_raw = pg_server_raw,
    .sv_split = pg_server_split,
    .sv_parts = pg_server_parts,
    .sv_part_named = pg_server_part_named,
    .sv_part_tracked = pg_server_part_tracked,
    .sv_part_fake = pg_server_part_fake,
    .sv_body = pg_server_body,
    .sv_prepare = pg_server_prepare,
    .sv_unprepare = pg_server_unprepare,
    .sv_sync = pg_server_sync,
    .handle_make = pg_server_handle_make,
    .handle_named = pg_server_handle_named,
    .sv_text = pg_server_text,
    .sv_ping = pg_server_ping,
    .sv_clean = pg_server_clean,
    .sv_vars = pg_server_vars,
    .sv_ask = pg_server_ask,
    .ask_row = pg_text_ask_row,
    .sv_listen = pg_server_listen,
    .sv_notify = pg_server_notify,
    .sv_quit = pg_server_quit,
    .sv_pending = pg_server_pending,
    .sv_answered = pg_server_answered,
    .sv_skips = pg_server_skips,

    .cancel_bytes = cancel_bytes,
    .key_make = pg_key_make,
    .key_read = pg_key_read,
    .key_peer = pg_key_peer,
    .key_pass_on = pg_key_pass_on,
    .key_pid = pg_key_pid,
    .kill_read = pg_kill_read,

    .dialect = pg_text_dialect,
    .encoding_var = "client_encoding",
    .var_rank = pg_text_var_rank,
    .var_serializable = pg_text_var_serializable,
    .var_analysis = pg_text_var_analysis,
    .var_result = pg_values_var_result,
    .var_hurries = pg_text_var_hurries,
    .var_free = pg_text_var_free,
    .bind_texts = pg_client_bind_texts,
    .types_custom = pg_client_types_custom,
    .bind_values = pg_values_bind,
    .bind_formats = pg_values_formats,
    .quote_literal = pg_text_literal,
    .reset_query = pg_text_reset_query,
    .auth_query = pg_text_auth_query,
    .catalog_query = pg_catalog_query,
    .catalog_details = pg_catalog_details_query,
    .probe_query = pg_node_probe,
    .probe_row = pg_node_row,
    .var_of_node = pg_node_var,
    .var_wishes = pg_node_wishes,
    .startup_wishes = pg_node_startup,
    .ours = pg_node_ours,
};
