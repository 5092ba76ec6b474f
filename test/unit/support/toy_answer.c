/* toy_answer.c - see toy_answer.h.
 *
 * What is kept are the lines "row ..." and the line "ok ..." behind them.  Nobody is told of
 * columns in this language, so the description is the same for all.
 */
#include "test/unit/support/toy_answer.h"

static const char described[] = "described\n";

static bool is_word(struct str line, const char *word)
{
    return str_starts(line, str_of(word));
}

/* One line of an answer, up to and with its end; false: it has no place there. */
static bool take(struct wire_kept *k, struct str line)
{
    struct str raw = {line.p, line.n + 1};
    if (k->complete.n > 0)
        return is_word(line, "done I");
    if (is_word(line, "row ")) {
        k->rows = k->nrows++ == 0 ? raw : (struct str){k->rows.p, k->rows.n + raw.n};
        return true;
    }
    if (is_word(line, "ok ")) {
        k->complete = raw;
        return true;
    }
    return k->nrows == 0 && (is_word(line, "parsed") || is_word(line, "bound"));
}

static bool read_answer(struct str raw, struct wire_kept *out)
{
    *out = (struct wire_kept){.desc = STR(described)};
    while (raw.n > 0) {
        ptrdiff_t end = str_find(raw, '\n');
        if (end < 0 || !take(out, (struct str){raw.p, (size_t)end}))
            return false;
        raw = (struct str){raw.p + end + 1, raw.n - (size_t)end - 1};
    }
    return out->complete.n > 0;
}

static bool is_whole(const struct wire_kept *k)
{
    return k->complete.n > 0;
}

static bool fits(const struct wire_kept *k, const struct wire_req *r)
{
    int binds = 0, runs = 0;
    (void)k;
    if ((r->flags & (REQ_START | REQ_END)) != (REQ_START | REQ_END))
        return false;
    for (int i = 0; i < r->nparts; i++) {
        enum wire_part_kind kind = r->parts[i].kind;
        binds += kind == PART_BIND;
        runs += kind == PART_EXECUTE || kind == PART_QUERY;
        if (r->parts[i].cut || kind == PART_CLOSE || kind == PART_DESCRIBE || kind == PART_CALL)
            return false;
    }
    return runs == 1 && binds == ((r->flags & REQ_SIMPLE) == 0);
}

static void give(void *st, const struct wire_req *r, const struct wire_kept *k, struct outq *out)
{
    (void)st;
    for (int i = 0; i < r->nparts; i++) {
        enum wire_part_kind kind = r->parts[i].kind;
        if (kind == PART_PARSE)
            outq_put_str(out, STR("parsed\n"));
        if (kind == PART_BIND)
            outq_put_str(out, STR("bound\n"));
        if (kind == PART_QUERY || kind == PART_EXECUTE) {
            outq_put_str(out, k->rows);
            outq_put_str(out, k->complete);
        }
    }
    outq_put_str(out, STR("done I\n"));
}

const struct wire_answers toy_answers = {
    .read = read_answer, .whole = is_whole, .fits = fits, .give = give};

int toy_answer_values(const struct wire_part *part, struct str types, struct wire_value *out,
                      int max)
{
    (void)types;
    if (max < 1)
        return -1;
    out[0] = (struct wire_value){.type = WIRE_TYPE_OPEN, .bytes = part->text};
    return 1;
}

struct str toy_answer_formats(const struct wire_part *part)
{
    (void)part;
    return STR("");
}
