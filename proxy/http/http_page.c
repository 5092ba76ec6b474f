/* http_page.c - the page at /; see http_page.h. */
#include "proxy/http/http_page.h"

#include "base/check.h"
#include "protocol/auth/b64.h"

#include <openssl/evp.h>
#include <stdio.h>

#define DIGEST_LEN 32

/* made from page.html by embed.sh */
extern const unsigned char http_page_html[];
extern const size_t http_page_html_size;

struct str http_page_text(void)
{
    return (struct str){(const char *)http_page_html, http_page_html_size};
}

/* What stands between <tag> and </tag>: the bytes that a browser hashes. */
static struct str inside(const char *tag)
{
    char open[16], close[16];
    struct str page = http_page_text();
    snprintf(open, sizeof(open), "<%s>", tag);
    snprintf(close, sizeof(close), "</%s>", tag);
    const char *from = memmem(page.p, page.n, open, strlen(open));
    CHECK(from != NULL);
    from += strlen(open);
    const char *to = memmem(from, page.n - (size_t)(from - page.p), close, strlen(close));
    CHECK(to != NULL);
    return (struct str){from, (size_t)(to - from)};
}

static void hash(const char *tag, char text[B64_LEN(DIGEST_LEN) + 1])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    struct str s = inside(tag);
    CHECK(EVP_Digest(s.p, s.n, digest, &n, EVP_sha256(), NULL) == 1 && n == DIGEST_LEN);
    b64_encode(text, digest, DIGEST_LEN);
    text[B64_LEN(DIGEST_LEN)] = '\0';
}

void http_page_policy(char *dst, size_t cap)
{
    char style[B64_LEN(DIGEST_LEN) + 1], script[B64_LEN(DIGEST_LEN) + 1];
    hash("style", style);
    hash("script", script);
    int n = snprintf(dst, cap,
                     "default-src 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'; "
                     "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                     "frame-ancestors 'none'",
                     style, script);
    CHECK(n > 0 && (size_t)n < cap);
}
