/* config_file.h - small trusted files and secrets from outside the configuration.
 *
 * Called by the configuration reader, on the main thread.  Only regular files are read, so that a
 * pipe or a device named by mistake cannot stop the process.
 */
#ifndef PENSTOCK_PROXY_CONFIG_FILE_H
#define PENSTOCK_PROXY_CONFIG_FILE_H

#include "base/status.h"
#include "base/str.h"
#include "proxy/config/config_arena.h"

#define CONFIG_FILE_MAX (64u << 20) /* bytes of one file */
#define CONFIG_SECRET_MAX 65530     /* bytes of one secret */

struct config_text {
    char *p; /* owned; terminated */
    size_t n;
};

/* ST_MISSING: no such file; ST_IO: cannot be read; ST_LIMIT: larger than max. err names the path.
 * */
enum status config_file_read(const char *path, size_t max, struct config_text *out,
                             struct error *err) ATTR_NODISCARD;
void config_file_free(struct config_text *t); /* wipes and frees; t is empty afterwards */

/* The path of a file named inside another one: as it stands when it is absolute or exists from the
 * current folder, otherwise beside the file that names it. */
const char *config_file_beside(struct config_arena *arena, const char *from, struct str path);

/* Resolves "file:/path" (without the line end of the file) and "env:NAME"; other text is the secret
 * itself. The result is owned by arena. */
enum status config_file_secret(struct config_arena *arena, struct str text, const char **out,
                               struct error *err) ATTR_NODISCARD;

#endif
