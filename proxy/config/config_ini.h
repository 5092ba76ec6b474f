/* config_ini.h - the lines of an ini file: sections, keys and values with their file and line.
 *
 * Called by config_load.c and by the fuzz target.  The only user of inih.  Knows nothing of what
 * the keys mean.
 *
 * Debian's libinih cuts section names at 49 and values at 195 bytes without a word, has no line
 * numbers and takes ';' and ':' inside a value or name for its own.  So our line reader splits each
 * line by PgBouncer's rules, keeps the real text aside, and feeds inih a short stand-in ("[7]",
 * "k = v"); inih's callback then finds the real text again.  The rules:
 *   - ';' or '#' starts a comment at the beginning of a line only;
 *   - [section], after which the line may go on;
 *   - key = value, without the blanks around both; a value ends with its line, but in sections that
 *     the caller names it goes on in indented lines;
 *   - a key may be "quoted" ("" inside is one quote), otherwise it has no blanks;
 *   - %include FILE, to a depth of 10, from the current folder or else from the including file's.
 */
#ifndef PENSTOCK_PROXY_CONFIG_INI_H
#define PENSTOCK_PROXY_CONFIG_INI_H

#include "base/status.h"
#include "base/str.h"

#define CONFIG_INI_LINE_MAX (1u << 20)
#define CONFIG_INI_DEPTH_MAX 10
#define CONFIG_INI_INCLUDES_MAX 1000

struct config_item {
    struct str section;
    struct str key; /* p is NULL: the section itself begins here */
    struct str value;
    bool quoted;      /* the key was */
    const char *file; /* terminated; valid until config_ini_read returns */
    int line;
};

/* Called for each section and each key, in order. On failure err holds the reason; file, line and
 * key are put before it by config_ini_read, which then stops. */
struct config_ini_sink {
    enum status (*item)(void *arg, const struct config_item *it, struct error *err);
    void *arg;
    /* In this section a value goes on in the lines below that begin with a blank, up to a comment.
     * NULL: in none. */
    bool (*continues)(struct str section);
};

enum status config_ini_read(const char *path, const struct config_ini_sink *sink,
                            struct error *err) ATTR_NODISCARD;

/* The same from memory; name stands for the file in errors. */
enum status config_ini_parse(const char *name, struct str text, const struct config_ini_sink *sink,
                             struct error *err) ATTR_NODISCARD;

#endif
