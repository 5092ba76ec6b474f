/* test_config_support.h - files in a private folder, and a protocol without behaviour, for the
 * tests of the configuration.
 *
 * Included by test_config*.c and test_hba.c; each file uses what it needs.
 */
#ifndef PENSTOCK_TEST_CONFIG_SUPPORT_H
#define PENSTOCK_TEST_CONFIG_SUPPORT_H

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "protocol/wire.h"
#include "proxy/config/config.h"
#include "proxy/config/config_option.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static const struct wire toy_wire = {
    .name = "toy",
    .default_port = 5432,
    .reset_query = "RESET IT ALL",
    .auth_query = "WHO IS $1",
};

static char support_dir[64];

static int support_setup(void **state)
{
    const struct log_config quiet = {.to_stderr = true, .level = LL_FATAL};
    struct error err;
    (void)state;
    if (log_configure(&quiet, &err) != ST_OK)
        return -1;
    snprintf(support_dir, sizeof(support_dir), "/tmp/penstock-config-XXXXXX");
    return mkdtemp(support_dir) == NULL ? -1 : 0;
}

static int support_teardown(void **state)
{
    char path[512];
    struct dirent *e;
    DIR *d = opendir(support_dir);
    (void)state;
    while (d != NULL && (e = readdir(d)) != NULL) {
        snprintf(path, sizeof(path), "%s/%s", support_dir, e->d_name);
        if (e->d_name[0] != '.')
            unlink(path);
    }
    if (d != NULL)
        closedir(d);
    return rmdir(support_dir);
}

/* The path of name in the private folder; good until the next but three calls. */
ATTR_UNUSED static const char *support_path(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof(paths[0]), "%s/%s", support_dir, name);
    return p;
}

ATTR_UNUSED static const char *support_write(const char *name, const char *text)
{
    const char *path = support_path(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* Loads text, which must be good. */
ATTR_UNUSED static struct config *support_load(const char *text)
{
    struct config *cfg = NULL;
    struct error err = {.text = ""};
    if (config_load(&toy_wire, support_write("main.ini", text), &cfg, &err) != ST_OK)
        fail_msg("%s", err.text);
    return cfg;
}

/* Loads text, which must be refused with exactly this reason; "@" in it stands for the file. */
ATTR_UNUSED static void support_refused(const char *text, const char *reason)
{
    struct config *cfg = NULL;
    struct error err = {.text = ""};
    char want[1024];
    const char *path = support_write("main.ini", text);
    snprintf(want, sizeof(want), "%s%s", reason[0] == '@' ? path : "", reason + (reason[0] == '@'));
    if (config_load(&toy_wire, path, &cfg, &err) == ST_OK) {
        config_put(&cfg);
        fail_msg("accepted: %s", text);
    }
    assert_null(cfg);
    assert_string_equal(err.text, want);
}

/* The value as SHOW CONFIG has it; good until the next call. */
ATTR_UNUSED static const char *support_shown(const struct config *cfg, const char *key)
{
    static char text[70000];
    struct buf b;
    const struct config_option *o = config_option_find(str_of(key));
    assert_non_null(o);
    buf_init(&b, sizeof(text));
    config_option_format(&cfg->opt, o, &b);
    assert_true(str_copy(text, sizeof(text), buf_str(&b)));
    buf_fini(&b);
    return text;
}

#endif
