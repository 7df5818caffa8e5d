/* nettle's HMAC; its state holds the key, so it is wiped. */
#include "core/mac.h"

#include <nettle/hmac.h>
#include <string.h>

static_assert(NQI_MAC == SHA256_DIGEST_SIZE, "all of it is used");

void nqi_mac(const uint8_t *key, size_t key_len, const char *label, const struct nqi_mac_part *part,
             size_t n, uint8_t *ret)
{
    struct hmac_sha256_ctx ctx;

    hmac_sha256_set_key(&ctx, key_len, key);
    hmac_sha256_update(&ctx, strlen(label), (const uint8_t *)label);
    for (size_t i = 0; i < n; i++)
        if (part[i].len)
            hmac_sha256_update(&ctx, part[i].len, part[i].at);
    hmac_sha256_digest(&ctx, NQI_MAC, ret);
    explicit_bzero(&ctx, sizeof(ctx));
}
