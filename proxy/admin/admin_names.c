/* admin_names.c - words for what the console shows; see admin_names.h.  Pure. */
#include "proxy/admin/admin_names.h"

#include "base/buf.h"

const char *admin_names_client_state(enum client_state st)
{
    switch (st) {
    case CL_STARTUP:
    case CL_AUTH:
        return "login";
    case CL_WELCOME:
    case CL_WAIT:
        return "waiting";
    case CL_IDLE:
        return "idle";
    case CL_BUSY:
    case CL_SHARED:
    case CL_HELD:
    case CL_ADMIN:
        return "active";
    case CL_ENDING:
    case CL_CLOSED:
        return "closing";
    }
    return "";
}

const char *admin_names_server_state(enum server_state st, bool cleaning, bool cancel)
{
    switch (st) {
    case SV_CONNECT:
    case SV_LOGIN:
    case SV_INIT:
        return "new";
    case SV_IDLE:
        return "idle";
    case SV_ACTIVE:
        if (cancel)
            return "being_canceled";
        return cleaning ? "tested" : "active";
    case SV_SHARED:
        return "active";
    case SV_CLOSED:
        return "closing";
    }
    return "";
}

static const struct {
    uint32_t pin;
    const char *name;
} pins[] = {
    {PIN_TX, "transaction"},
    {PIN_TEMP, "temp"},
    {PIN_LOCK, "lock"},
    {PIN_CURSOR, "cursor"},
    {PIN_PREPARED, "prepared"},
    {PIN_LISTEN, "listen"},
    {PIN_LARGE, "large"},
    {PIN_COPY, "copy"},
    {PIN_SESSION, "session"},
    {PIN_UNKNOWN, "unknown"},
    {PIN_REPLICATION, "replication"},
};

void admin_names_pins(const struct server *s, char *dst, size_t cap)
{
    uint32_t set = s->pins;
    struct buf b;
    if (s->client != NULL && s->tx != TX_IDLE)
        set |= PIN_TX;
    if (s->client != NULL && s->client->passthrough)
        set |= PIN_SESSION;
    if (s->client != NULL && s->client->replication)
        set |= PIN_REPLICATION;
    if (s->client != NULL && s->answered != NULL)
        set |= PIN_UNKNOWN;
    if (s->upload)
        set |= PIN_COPY;
    if (s->shared_listener)
        set |= PIN_LISTEN;
    buf_init(&b, cap);
    for (size_t i = 0; i < ARRAY_LEN(pins); i++)
        if (set & pins[i].pin)
            buf_printf(&b, "%s%s", buf_len(&b) > 0 ? "," : "", pins[i].name);
    str_copy(dst, cap, buf_str(&b));
    buf_fini(&b);
}
