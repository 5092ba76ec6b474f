/* fuzz_proxy_protocol.c - libFuzzer target: any bytes as a PROXY protocol header.
 *
 * Beyond not crashing: the verdict on a prefix must never contradict the verdict on more bytes, and
 * what is consumed lies within the input.
 */
#include "base/base.h"

#include "base/check.h"
#include "proxy/net/proxy_protocol.h"
#include "proxy/net/sockopt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_protocol_header whole, part;
    struct error err = {""};
    char text[SOCKOPT_TEXT_MAX];
    struct str in = {(const char *)data, size};
    enum proxy_protocol_verdict v = proxy_protocol_parse(in, &whole, &err);
    if (v == PROXY_PROTOCOL_OK) {
        CHECK(whole.consumed > 0 && whole.consumed <= size);
        CHECK(whole.consumed <= PROXY_PROTOCOL_V2_MAX);
        if (whole.has_addr)
            sockopt_format((const struct sockaddr *)&whole.src, 0, text, sizeof(text));
    } else if (v == PROXY_PROTOCOL_BAD) {
        CHECK(err.text[0] != '\0');
    } else {
        CHECK(size < PROXY_PROTOCOL_V2_MAX);
    }
    size_t cut = size / 2;
    enum proxy_protocol_verdict early = proxy_protocol_parse((struct str){in.p, cut}, &part, &err);
    if (early == PROXY_PROTOCOL_BAD)
        CHECK(v == PROXY_PROTOCOL_BAD);
    if (early == PROXY_PROTOCOL_OK)
        CHECK(v == PROXY_PROTOCOL_OK && whole.consumed == part.consumed);
    return 0;
}
