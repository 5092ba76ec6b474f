/* ctl_print.c - tables, CSV and JSON; see ctl_print.h. */
#include "proxy/ctl/ctl_print.h"

#include "base/mem.h"

/* ---- table ----------------------------------------------------------------------------------- */

static bool is_control(unsigned char c)
{
    return c < ' ' || c == 0x7f;
}

/* Places that a text takes on a terminal: characters, a control character as \xNN. */
static size_t width_of(const char *z)
{
    size_t n = 0;
    for (; *z != '\0'; z++) {
        unsigned char c = (unsigned char)*z;
        if (is_control(c))
            n += 4;
        else
            n += (c & 0xc0) != 0x80;
    }
    return n;
}

static void put_n(struct buf *b, char c, size_t n)
{
    while (n-- > 0)
        buf_put_u8(b, (uint8_t)c);
}

static void put_cell(struct buf *b, const char *z, size_t width, bool right)
{
    size_t fill = width - MIN(width, width_of(z));
    if (right)
        put_n(b, ' ', fill);
    for (; *z != '\0'; z++) {
        unsigned char c = (unsigned char)*z;
        if (is_control(c))
            buf_printf(b, "\\x%02x", c);
        else
            buf_put_u8(b, c);
    }
    if (!right)
        put_n(b, ' ', fill);
}

/* row: cells of t, or NULL for the head. */
static void put_row(struct buf *b, const struct ctl_table *t, const char *const *row,
                    const size_t *widths)
{
    for (size_t i = 0; i < t->ncols; i++) {
        const char *text = row == NULL ? t->cols[i].name : row[i] != NULL ? row[i] : "";
        buf_put_text(b, i > 0 ? " | " : " ");
        put_cell(b, text, widths[i], row != NULL && t->cols[i].number);
    }
    buf_put_text(b, "\n");
}

static void print_table(const struct ctl_table *t, struct buf *b)
{
    size_t *widths = mem_new((t->ncols + 1) * sizeof(*widths));
    for (size_t i = 0; i < t->ncols; i++) {
        widths[i] = width_of(t->cols[i].name);
        for (size_t r = 0; r < t->nrows; r++)
            widths[i] = MAX(widths[i], width_of(ctl_table_text(t, r, (int)i)));
    }
    put_row(b, t, NULL, widths);
    for (size_t i = 0; i < t->ncols; i++) {
        buf_put_text(b, i > 0 ? "+" : "");
        put_n(b, '-', widths[i] + 2);
    }
    buf_put_text(b, "\n");
    for (size_t r = 0; r < t->nrows; r++)
        put_row(b, t, t->cells + r * t->ncols, widths);
    buf_printf(b, "(%zu row%s)\n", t->nrows, t->nrows == 1 ? "" : "s");
    mem_free(widths);
}

/* ---- CSV ------------------------------------------------------------------------------------- */

static void put_csv(struct buf *b, const char *z)
{
    if (strpbrk(z, ",\"\r\n") == NULL) {
        buf_put_text(b, z);
        return;
    }
    buf_put_u8(b, '"');
    for (; *z != '\0'; z++) {
        if (*z == '"')
            buf_put_u8(b, '"');
        buf_put_u8(b, (uint8_t)*z);
    }
    buf_put_u8(b, '"');
}

static void print_csv(const struct ctl_table *t, struct buf *b)
{
    for (size_t r = 0; r <= t->nrows; r++) {
        for (size_t i = 0; i < t->ncols; i++) {
            buf_put_text(b, i > 0 ? "," : "");
            put_csv(b, r == 0 ? t->cols[i].name : ctl_table_text(t, r - 1, (int)i));
        }
        buf_put_text(b, "\n");
    }
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static void put_json(struct buf *b, const char *z)
{
    buf_put_u8(b, '"');
    for (; *z != '\0'; z++) {
        unsigned char c = (unsigned char)*z;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (is_control(c))
            buf_printf(b, "\\u%04x", c);
        else
            buf_put_u8(b, c);
    }
    buf_put_u8(b, '"');
}

static bool is_number(const char *z)
{
    if (*z == '-')
        z++;
    size_t digits = strspn(z, "0123456789");
    return digits > 0 && z[digits] == '\0' && (digits == 1 || *z != '0');
}

static void put_json_cell(struct buf *b, const struct ctl_table *t, size_t r, size_t i)
{
    const char *cell = t->cells[r * t->ncols + i];
    if (cell == NULL)
        buf_put_text(b, "null");
    else if (t->cols[i].number && is_number(cell))
        buf_put_text(b, cell);
    else
        put_json(b, cell);
}

static void print_json(const struct ctl_table *t, struct buf *b)
{
    buf_put_text(b, "[");
    for (size_t r = 0; r < t->nrows; r++) {
        buf_put_text(b, r > 0 ? ",\n{" : "\n{");
        for (size_t i = 0; i < t->ncols; i++) {
            buf_put_text(b, i > 0 ? ", " : "");
            put_json(b, t->cols[i].name);
            buf_put_text(b, ": ");
            put_json_cell(b, t, r, i);
        }
        buf_put_text(b, "}");
    }
    buf_put_text(b, t->nrows > 0 ? "\n]\n" : "]\n");
}

void ctl_print(const struct ctl_table *t, enum ctl_format format, struct buf *out)
{
    switch (format) {
    case CTL_TABLE:
        print_table(t, out);
        break;
    case CTL_CSV:
        print_csv(t, out);
        break;
    case CTL_JSON:
        print_json(t, out);
        break;
    }
}
