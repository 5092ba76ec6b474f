/* fuzz_hba.c - access rules of any bytes are taken or refused with a reason, and may then be asked.
 *
 * User name maps are left out: their regular expressions are the C library's.
 */
#include "base/base.h"

#include "base/check.h"
#include "proxy/config/hba.h"

#include <netinet/in.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct hba *h, const uint8_t *data, size_t size)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    struct sockaddr *addrs[2] = {(struct sockaddr *)(void *)&in, (struct sockaddr *)(void *)&in6};
    size_t half = size / 2;
    memcpy(&in.sin_addr, data, MIN(size, sizeof(in.sin_addr)));
    memcpy(&in6.sin6_addr, data, MIN(size, sizeof(in6.sin6_addr)));
    for (unsigned bits = 0; bits < 16; bits++) {
        const struct hba_query q = {.is_unix = (bits & 1) != 0,
                                    .addr = addrs[(bits & 2) != 0],
                                    .tls = (bits & 4) != 0,
                                    .replication = (bits & 8) != 0,
                                    .database = {(const char *)data, half},
                                    .user = {(const char *)data + half, size - half}};
        const struct hba_rule *r = hba_find(h, &q);
        CHECK(r == NULL || (r->line > 0 && r->options != NULL));
        CHECK(r == NULL || hba_method_name(r->method) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hba *h = NULL;
    struct error err = {.text = ""};
    enum status st = hba_parse("f", (struct str){(const char *)data, size}, NULL, &h, &err);
    CHECK((st == ST_OK) == (h != NULL) && (st == ST_OK) == (err.text[0] == '\0'));
    if (st == ST_OK)
        ask(h, data, size);
    hba_put(&h);
    return 0;
}
