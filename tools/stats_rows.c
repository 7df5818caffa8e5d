/* What is told, and what it is called as a metric: the one table of both. */
#include "tools/stats.h"

#define C NQI_STATS_COUNTER
#define G NQI_STATS_GAUGE

const struct nqi_stats_row nqi_stats_rows[] = {
    {"messages_out", "sent", NULL, NULL, C, "messages", "Messages handed to a transport."},
    {"bytes_out", "sent", NULL, NULL, C, "bytes", "Their payload."},
    {"messages_in", "received", NULL, NULL, C, "messages", "Complete messages received."},
    {"bytes_in", "received", NULL, NULL, C, "bytes", "Their payload."},
    {"delivered", "settled_puts", "outcome", "delivered", C, NULL,
     "Puts that settled, one for each peer, by outcome."},
    {"not_delivered", "settled_puts", "outcome", "not_delivered", C, NULL, NULL},
    {"unknown", "settled_puts", "outcome", "unknown", C, NULL, NULL},
    {"cancelled", "settled_puts", "outcome", "cancelled", C, NULL, NULL},
    {"dropped", "settled_puts", "outcome", "dropped", C, NULL, NULL},
    {"expired", "settled_puts", "outcome", "expired", C, NULL, NULL},
    {"handed", "settled_puts", "outcome", "handed", C, NULL, NULL},
    {"dropped_by", "failed_puts", "reason", NULL, C, NULL,
     "Puts that did not settle as delivered, by reason."},
    {"queued", "queued", NULL, NULL, G, "messages", "Messages that wait to be sent."},
    {"queued_bytes", "queued", NULL, NULL, G, "bytes", "Their payload."},
    {"unacked", "unacknowledged", NULL, NULL, G, "messages", "Messages sent and not acknowledged."},
    {"unread", "unread", NULL, NULL, G, "messages", "Messages that wait for a get."},
    {"unread_bytes", "unread", NULL, NULL, G, "bytes", "Their payload."},
    {"peers", "peers", NULL, NULL, G, NULL, "Peers that there is a session with."},
    {"links", "links", NULL, NULL, G, NULL, "Connections."},
    {"connects", "connects", NULL, NULL, C, NULL, "Sessions that began."},
    {"refusals", "refusals", NULL, NULL, C, NULL, "Connections that were refused."},
    {"events_lost", "lost_events", NULL, NULL, C, NULL, "Events that nobody took in time."},
    {"turns", "loop_turns", NULL, NULL, C, NULL, "Turns of the event loops."},
    {"sleeps", "loop_sleeps", NULL, NULL, C, NULL, "Times that a thread slept in one."},
    {"kicks", "loop_kicks", NULL, NULL, C, NULL, "Times that such a thread was woken."},
    {"spins_paid", "spins", "result", "paid", C, NULL, "Waits that looked before they slept."},
    {"spins_lost", "spins", "result", "lost", C, NULL, NULL},
    {"keeper_ticks", "keeper_ticks", NULL, NULL, C, NULL,
     "Times that the library's thread looked whether somebody drives."},
    {"keeper_turns", "keeper_turns", NULL, NULL, C, NULL, "Turns that it drove itself."},
    {"send_calls", "system_calls", "call", "send", C, NULL, "System calls of transports."},
    {"recv_calls", "system_calls", "call", "receive", C, NULL, NULL},
    {"pool_bytes", "pool", NULL, NULL, G, "bytes", "Memory that the process keeps for reuse."},
    {"shared_bytes", "shared", NULL, NULL, G, "bytes", "Memory that is shared with peers."},
    {"health", "transports", "state", NULL, G, NULL, "Transports, by how they are."},
};

const size_t nqi_stats_nrows = NQI_LEN(nqi_stats_rows);

const struct nqi_stats_row nqi_stats_peer_rows[] = {
    {"up", "peer_up", NULL, NULL, G, NULL, "1 while a connection carries the session."},
    {"queued", "peer_queued", NULL, NULL, G, "messages", "Messages that wait to be sent to it."},
    {"queued_bytes", "peer_queued", NULL, NULL, G, "bytes", "Their payload."},
    {"unacked", "peer_unacknowledged", NULL, NULL, G, "messages",
     "Messages sent to it and not acknowledged."},
    {"unread", "peer_unread", NULL, NULL, G, "messages", "Its messages that wait for a get."},
    {"messages_out", "peer_sent", NULL, NULL, C, "messages", "Messages sent to it."},
    {"bytes_out", "peer_sent", NULL, NULL, C, "bytes", "Their payload."},
    {"messages_in", "peer_received", NULL, NULL, C, "messages", "Messages received from it."},
    {"bytes_in", "peer_received", NULL, NULL, C, "bytes", "Their payload."},
};

const size_t nqi_stats_npeer_rows = NQI_LEN(nqi_stats_peer_rows);
