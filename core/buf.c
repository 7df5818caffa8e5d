/* The copying halves of the cursors; the rest is inline in buf.h. */
#include "core/buf.h"
#include "core/copy.h"

bool nqi_buf_copy(struct nqi_buf *buf, void *out, size_t len)
{
    const uint8_t *at = nqi_buf_span(buf, len);

    if (!at)
        return false;
    if (len)
        nqi_copy(out, at, len);
    return true;
}

void nqi_wbuf_bytes(struct nqi_wbuf *buf, const void *data, size_t len)
{
    uint8_t *at = nqi_wbuf_span(buf, len);

    if (at && len)
        nqi_copy(at, data, len);
}
