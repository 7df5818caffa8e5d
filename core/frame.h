/* Bytes <-> records: the native framing "nq1".  Pure.
 *
 * A record is a head of 8 bytes and a body:
 *
 *     0      1      2          4             8
 *     type   flags  aux (u16)  length (u32)  body of `length` bytes
 *
 * numbers big-endian.  DATA with flag BIG has 8 bytes more behind the head, not counted in
 * length: the payload bytes of the whole message.
 *
 * HELLO is type 0, flags 0, aux 0, length 256: read as 8 bytes big-endian, that is a frame of 256
 * bytes of the older wire that shares the port, and no peer of that wire is led to reserve memory.
 *
 *     record     dir     body
 *     HELLO      c -> s  256 bytes, core/attach.h
 *     CHALLENGE  s -> c  256 bytes, core/attach.h
 *     AUTH       c -> s  128 bytes, core/attach.h; aux = method
 *     WELCOME    s -> c  160 bytes, core/attach.h; aux = 1: resumed
 *     REJECT     s -> c  aux = reason; text for people
 *     DATA       both    aux = bytes of metadata; metadata (first record of a message), payload
 *     ACK        both    sequence, credit in messages, credit in bytes: u64 each, absolute
 *     PING       both    u64 of the sender's
 *     PONG       both    the same u64
 *     BYE        both    u64 last sequence sent: no DATA follows
 *     BYE_ACK    both    - : everything up to the BYE has arrived
 *     GOAWAY     both    - : server: finish what was begun, begin no more; client: done
 *
 * DATA records carry no sequence: each direction counts them from 1. */
#ifndef NQ_CORE_FRAME_H
#define NQ_CORE_FRAME_H

#include "core/base.h"
#include "core/buf.h"

#define NQI_HEAD 8          /* bytes of every head */
#define NQI_HEAD_BIG 16     /* of a DATA head with flag BIG */
#define NQI_CONTROL_MAX 256 /* bytes in the body of any record but DATA */
#define NQI_HELLO_SIZE 256  /* body of HELLO and CHALLENGE */
#define NQI_AUTH_SIZE 128
#define NQI_WELCOME_SIZE 160
#define NQI_LENGTH_MAX ((UINT64_C(1) << 56) - 1) /* no message is longer, whatever the limits */

enum nqi_record_type {
    NQI_HELLO = 0,
    NQI_CHALLENGE = 1,
    NQI_AUTH = 2,
    NQI_WELCOME = 3,
    NQI_REJECT = 4,
    NQI_DATA = 5,
    NQI_ACK = 6,
    NQI_PING = 7,
    NQI_PONG = 8,
    NQI_BYE = 9,
    NQI_BYE_ACK = 10,
    NQI_GOAWAY = 11,
    NQI_RECORD_TYPES
};

/* Flags of DATA. */
#define NQI_DATA_BEGIN 0x01u  /* first record of a message */
#define NQI_DATA_END 0x02u    /* last record of a message */
#define NQI_DATA_ACKNOW 0x04u /* somebody waits: acknowledge at once */
#define NQI_DATA_BIG 0x08u    /* the whole length follows the head */
#define NQI_DATA_AGAIN 0x10u  /* first record: sent before, in a session that ended */
#define NQI_DATA_FLAGS 0x1fu

struct nqi_head {
    uint8_t type, flags;
    uint16_t aux;
    uint32_t length;
    uint64_t total; /* payload of the whole message: BIG's number, or this record's */
};

/* Bytes that the head of a record of this type and flags has. */
static inline size_t nqi_head_size(uint8_t type, uint8_t flags)
{
    return type == NQI_DATA && (flags & NQI_DATA_BIG) ? NQI_HEAD_BIG : NQI_HEAD;
}

/* Write a head; `total` only with BIG.  @return bytes written: 8 or 16 */
static inline size_t nqi_head_write(uint8_t *at, uint8_t type, uint8_t flags, uint16_t aux,
                                    uint32_t length, uint64_t total)
{
    at[0] = type;
    at[1] = flags;
    nqi_store_u16(at + 2, aux);
    nqi_store_u32(at + 4, length);
    if (!(flags & NQI_DATA_BIG) || type != NQI_DATA)
        return NQI_HEAD;
    nqi_store_u64(at + 8, total);
    return NQI_HEAD_BIG;
}

/* Read a head of nqi_head_size() bytes and check what can be checked without state: the type,
 * unknown flags, lengths of control records, metadata and whole length against each other.
 * @return NQ_OK, NQ_ERR_PROTO */
NQ_MUST_CHECK nq_err nqi_head_read(const uint8_t *at, struct nqi_head *ret);

#endif
