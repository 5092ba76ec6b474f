/* fuzz_ini.c - configuration files and URLs of any bytes are taken or refused with a reason.
 *
 * A text that begins with "postgres" goes to config_from_url, everything else is loaded as a file.
 * What is accepted must survive being looked at, reloaded over itself and compared with itself.
 */
#include "base/base.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/log.h"
#include "protocol/wire.h"
#include "proxy/config/config.h"
#include "proxy/config/config_option.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct wire toy_wire = {
    .name = "toy", .default_port = 5432, .reset_query = "RESET", .auth_query = "WHO IS $1"};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const struct log_config quiet = {.level = LL_FATAL};
    struct error err;
    (void)argc;
    (void)argv;
    CHECK(log_configure(&quiet, &err) == ST_OK);
    return 0;
}

static void differs(void *arg, const char *name, enum config_change change)
{
    (void)arg;
    (void)name;
    (void)change;
    UNREACHABLE(); /* a snapshot does not differ from itself */
}

static void look_at(const struct config *cfg)
{
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    for (size_t i = 0; i < config_schema_count; i++)
        config_option_format(&cfg->opt, &config_schema[i], &out);
    buf_fini(&out);
    for (size_t i = 0; i < cfg->entries->ndatabases; i++) {
        const struct config_database *d = cfg->entries->databases[i];
        CHECK(config_find_database(cfg, str_of(d->name)) == d);
        CHECK(d->nhosts > 0 && d->nhosts <= CONFIG_HOSTS_MAX);
        for (size_t k = 0; k < d->nhosts; k++)
            CHECK(d->hosts[k].host[0] != '\0' && d->hosts[k].port > 0);
    }
    config_diff(cfg, cfg, differs, NULL);
}

static void one_url(const uint8_t *data, size_t size)
{
    struct config *cfg = NULL;
    struct error err = {.text = ""};
    char *url = str_dup((struct str){(const char *)data, size});
    enum status st = config_from_url(&toy_wire, url, &cfg, &err);
    CHECK((st == ST_OK) == (cfg != NULL) && (st == ST_OK) == (err.text[0] == '\0'));
    if (st == ST_OK)
        look_at(cfg);
    config_put(&cfg);
    free(url);
}

static void one_file(const uint8_t *data, size_t size)
{
    char path[64];
    struct config *cfg = NULL, *again = NULL;
    struct error err = {.text = ""};
    int fd = memfd_create("ini", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    enum status st = config_load(&toy_wire, path, &cfg, &err);
    CHECK((st == ST_OK) == (cfg != NULL) && (st == ST_OK) == (err.text[0] == '\0'));
    if (st == ST_OK) {
        look_at(cfg);
        CHECK(config_load_reload(cfg, path, &again, &err) == ST_OK);
        config_diff(cfg, again, differs, NULL);
    }
    config_put(&again);
    config_put(&cfg);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= 8 && memcmp(data, "postgres", 8) == 0)
        one_url(data, size);
    else
        one_file(data, size);
    return 0;
}
