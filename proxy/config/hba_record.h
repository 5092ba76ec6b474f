/* hba_record.h - one line of access rules; internal to hba.c and hba_record.c. */
#ifndef PENSTOCK_PROXY_HBA_RECORD_H
#define PENSTOCK_PROXY_HBA_RECORD_H

#include "base/status.h"
#include "base/str.h"
#include "proxy/config/config_arena.h"
#include "proxy/config/hba.h"

enum hba_type { HBA_LOCAL, HBA_HOST, HBA_HOSTSSL, HBA_HOSTNOSSL };

enum hba_name_kind { HBA_NAME_TEXT, HBA_NAME_ALL, HBA_NAME_SAMEUSER, HBA_NAME_REPLICATION };

struct hba_name {
    struct hba_name *next;
    enum hba_name_kind kind;
    struct str text;
};

struct hba_record {
    struct hba_record *next;
    enum hba_type type;
    struct hba_name *databases, *users;
    bool any_address;
    size_t addr_len;            /* 4 or 16 */
    uint8_t addr[16], mask[16]; /* network byte order; addr has no bit outside mask */
    struct hba_rule rule;
};

struct hba_source {
    struct config_arena *arena;
    const struct hba_ident *ident; /* or NULL */
    const char *file;
    struct str line; /* what is left of it */
};

/* *out is NULL for a line without content. err has the reason without file and line. */
enum status hba_record_read(struct hba_source *src, struct hba_record **out,
                            struct error *err) ATTR_NODISCARD;

#endif
