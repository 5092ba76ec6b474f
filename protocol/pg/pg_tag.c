/* pg_tag.c - see pg_tag.h.  Any thread; no state. */
#include "protocol/pg/pg_tag.h"

#include "protocol/wire.h"

static const struct {
    const char *word; /* the tag starts with it, at a word border; longer ones first */
    uint32_t bits;
} tags[] = {
    {"SELECT", WT_READ},
    {"INSERT", WT_WRITE},
    {"UPDATE", WT_WRITE},
    {"DELETE", WT_WRITE},
    {"MERGE", WT_WRITE},
    {"BEGIN", WT_TX},
    {"COMMIT", WT_TX},
    {"ROLLBACK", WT_TX | WT_ROLLBACK},
    {"START TRANSACTION", WT_TX},
    {"SAVEPOINT", WT_TX},
    {"RELEASE", WT_TX},
    {"PREPARE TRANSACTION", WT_TX},
    {"PREPARE", WT_PREPARE},
    {"SET CONSTRAINTS", WT_TX},
    {"SET", WT_SET},
    {"RESET", WT_RESET},
    {"DISCARD ALL", WT_DISCARD},
    {"DISCARD", WT_DISCARD_PART},
    {"DEALLOCATE ALL", WT_DEALLOCATE_ALL},
    {"DEALLOCATE", WT_DEALLOCATE},
    {"LISTEN", WT_LISTEN},
    {"UNLISTEN", WT_LISTEN},
    {"NOTIFY", WT_WRITE},
    {"DECLARE CURSOR", WT_CURSOR},
    {"CLOSE CURSOR", WT_CURSOR},
    {"FETCH", WT_READ},
    {"MOVE", WT_READ},
    {"SHOW", WT_READ},
    {"EXPLAIN", WT_READ},
    {"COPY", WT_COPY},
    {"DO", WT_CODE},
    {"CALL", WT_CODE},
    {"LOAD", WT_CODE},
    {"TRUNCATE TABLE", WT_WRITE | WT_DDL},
    {"LOCK TABLE", WT_WRITE},
};

uint32_t pg_tag_bits(struct str tag)
{
    for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
        struct str w = str_of(tags[i].word);
        if (str_starts(tag, w) && (tag.n == w.n || tag.p[w.n] == ' '))
            return tags[i].bits;
    }
    return WT_DDL;
}

/* The number at the end. No tag of a command that has no rows ends with one. */
uint64_t pg_tag_rows(struct str tag)
{
    uint64_t rows = 0, unit = 1;
    size_t n = tag.n;
    for (; n > 0 && tag.p[n - 1] >= '0' && tag.p[n - 1] <= '9'; n--) {
        rows += unit * (uint64_t)(tag.p[n - 1] - '0');
        unit *= 10;
    }
    return n > 0 && tag.p[n - 1] == ' ' ? rows : 0;
}
