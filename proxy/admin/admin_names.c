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
    case CL_CACHE:
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

static const uint32_t pins[ADMIN_PINS] = {PIN_TX,       PIN_TEMP,    PIN_LOCK,       PIN_CURSOR,
                                          PIN_PREPARED, PIN_LISTEN,  PIN_LARGE,      PIN_COPY,
                                          PIN_SESSION,  PIN_UNKNOWN, PIN_REPLICATION};
const char *const admin_names_pin[ADMIN_PINS] = {"transaction", "temp",    "lock",       "cursor",
                                                 "prepared",    "listen",  "large",      "copy",
                                                 "session",     "unknown", "replication"};

uint32_t admin_names_pin_set(const struct server *s)
{
    uint32_t set = s->pins, found = 0;
    if (s->client != NULL && s->tx != TX_IDLE)
        set |= PIN_TX;
    if (s->client != NULL && s->client->passthrough)
        set |= PIN_SESSION;
    if (s->client != NULL && s->client->replication)
        set |= PIN_REPLICATION;
    if (s->client != NULL && s->question.answered != NULL)
        set |= PIN_UNKNOWN;
    if (s->upload)
        set |= PIN_COPY;
    if (s->shared_listener)
        set |= PIN_LISTEN;
    for (size_t i = 0; i < ADMIN_PINS; i++)
        found |= set & pins[i] ? 1u << i : 0;
    return found;
}

void admin_names_pins(const struct server *s, char *dst, size_t cap)
{
    uint32_t set = admin_names_pin_set(s);
    struct buf b;
    buf_init(&b, cap);
    for (size_t i = 0; i < ADMIN_PINS; i++)
        if (set & 1u << i)
            buf_printf(&b, "%s%s", buf_len(&b) > 0 ? "," : "", admin_names_pin[i]);
    str_copy(dst, cap, buf_str(&b));
    buf_fini(&b);
}
