/* Links of the plain wire: what their two files and the others share.
 *
 *   grpc_rounds.c       when a client's round begins, how long a server waits for one
 *   grpc_rounds_call.c  the round itself, and whose it is */
#ifndef NGRPC_ROUNDS_H
#define NGRPC_ROUNDS_H

#include "grpc.h"

/* ---- grpc_rounds.c: in the link's serial ------------------------------------------------ */

/* It is up: from now on rounds come, or have to. */
void ngrpc_rounds_up(struct nqtp_link *link);
/* Begin a client's first round: there is a connection when its headers are gone. */
void ngrpc_rounds_connect(struct nqtp_link *link);
/* send() took something. */
void ngrpc_rounds_sent(struct nqtp_link *link);
/* Look what became of the round, and whether the next one is due. */
void ngrpc_rounds_look(struct nqtp_link *link);

/* ---- grpc_rounds_call.c ----------------------------------------------------------------- */

/* A client's, in the link's serial; none goes on. */
void ngrpc_round_begin(struct ngrpc_stream *stream);
/* A server's: the call is a round of a link that there is, or of one to be.  Takes `call`. */
void ngrpc_round_arrived(struct ngrpc_server *server, grpc_call *call);
/* An operation completed: is the round over?  Thread: the poller's, before its user is put. */
void ngrpc_round_settle(struct ngrpc_stream *stream);
/* Under the mutex: what the round sends next, when no bytes do; false: nothing, now. */
bool ngrpc_round_next_op(struct ngrpc_stream *stream, grpc_op *op);
/* As ngrpc_stream_close(). */
void ngrpc_round_close(struct ngrpc_stream *stream, bool linger);
/* What a completed send or receive comes to.  Under the mutex. */
void ngrpc_round_moved(struct ngrpc_stream *stream);
/* The first piece came: under the mutex.  True: ngrpc_server_arrived() is to follow. */
bool ngrpc_round_announces(struct ngrpc_stream *stream);
/* The endpoint closes, and its links have: end the rounds that are of none. */
void ngrpc_round_shut(struct ngrpc_room *room);
/* No round finds the stream any more. */
void ngrpc_round_leave(struct ngrpc_stream *stream);

#endif
