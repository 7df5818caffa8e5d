/* Between the two halves of core/arq.h. */
#ifndef NQ_CORE_ARQ_INSIDE_H
#define NQ_CORE_ARQ_INSIDE_H

#include "core/arq.h"

struct nqi_arq_head {
    uint64_t number, ack;
    uint32_t ranges, size; /* size: bytes before the payload */
    struct {
        uint16_t first, count;
    } range[NQI_ARQ_RANGES];
};

/* arq_tx.c */
void nqi_arq_tx_init(struct nqi_arq *arq);
void nqi_arq_tx_fini(struct nqi_arq *arq);
/* @param head  checked: head->ack <= arq->sent */
void nqi_arq_on_answer(struct nqi_arq *arq, const struct nqi_arq_head *head, int64_t now);
void nqi_arq_time_out(struct nqi_arq *arq);

/* arq.c */
/* The head of packet `number` with what is here now.  @return bytes, at most NQI_ARQ_HEAD_MAX */
size_t nqi_arq_write_head(const struct nqi_arq *arq, uint8_t *at, uint64_t number);
void nqi_arq_answered(struct nqi_arq *arq); /* it was sent */

#endif
