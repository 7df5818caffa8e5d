/* The letters: every message that is put is in the ledger, and so is what became of it. */
#include "tests/sim/sim.h"

#include <netqueue/msg.h>
#include <stdlib.h>
#include <string.h>

struct label {
    uint32_t index, size;
    uint64_t check;
};

static uint64_t label_check(const struct label *label)
{
    return (label->index * UINT64_C(0x9e3779b97f4a7c15)) ^
           (label->size * UINT64_C(0xd1342543de82ef95));
}

static uint32_t draw_size(void)
{
    if (sim.large && sim_chance(500))
        return (uint32_t)sim_draw(20000);
    switch (sim_draw(12)) {
    case 0:
        return (uint32_t)sim_draw(20000);
    case 1:
        return (uint32_t)sim_draw(3000);
    case 2:
        return sim_chance(100) ? (uint32_t)sim_draw(400000) : 2048;
    default:
        return (uint32_t)sim_draw(100);
    }
}

static nq_msg *letter_write(const struct letter *letter, uint32_t index)
{
    struct label label = {.index = index, .size = letter->size};
    uint8_t *at;
    void *data;
    nq_msg *msg;

    if (nq_msg_alloc(sizeof(label) + letter->size, &data, &msg))
        return NULL;
    label.check = label_check(&label);
    memcpy(data, &label, sizeof(label));
    at = (uint8_t *)data + sizeof(label);
    for (uint32_t i = 0; i < letter->size; i++)
        at[i] = (uint8_t)(index + i * 7);
    return msg;
}

static struct letter *letter_new(void)
{
    if (sim.nletters == sim.cap) {
        sim.cap = sim.cap ? sim.cap * 2 : 256;
        sim.letters = realloc(sim.letters, sim.cap * sizeof(*sim.letters));
        if (!sim.letters)
            abort();
    }
    memset(&sim.letters[sim.nletters], 0, sizeof(*sim.letters));
    return &sim.letters[sim.nletters];
}

void sim_put_letter(unsigned from, unsigned to, bool asked)
{
    struct node *node = &sim.node[from];
    struct letter *letter;
    nq_msg *msg;
    nq_err err;

    letter = letter_new();
    *letter = (struct letter){.from = from,
                              .to = to,
                              .life = node->life,
                              .to_life = sim.node[to].life,
                              .number = ++node->number,
                              .size = draw_size(),
                              .asked = asked};
    msg = letter_write(letter, (uint32_t)sim.nletters);
    if (!msg)
        return;
    if (sim_chance(30))
        nq_msg_set_ttl(msg, (int64_t)sim_draw(3000) * MS);
    err = nq_put(node->queue, msg, from ? NULL : &sim.node[to].id, from ? 0 : 1,
                 letter->asked ? &letter->future : NULL);
    sim_note((uint64_t)err);
    if (err) {
        nq_msg_free(msg);
        return; /* full, no peer, no memory: nothing was put */
    }
    sim_say("%s -> %s: letter %zu, %u bytes", node->name, sim.node[to].name, sim.nletters,
            letter->size);
    sim.nletters++;
}

void sim_put(void)
{
    unsigned from = (unsigned)sim_draw(sim.nnodes);

    if (sim.node[from].queue)
        sim_put_letter(from, from ? 0 : 1 + (unsigned)sim_draw(sim.nnodes - 1), sim_chance(500));
}

/* Each letter comes once and in order; but for those that their sender says it has sent before. */
static void check_order(struct node *node, struct letter *letter, const nq_msg *msg)
{
    uint64_t *seen = &node->seen[letter->from][letter->life % 64];
    bool again = nq_msg_is_redelivered(msg);
    size_t index = (size_t)(letter - sim.letters);

    if (again && !sim.resends)
        sim_broken("letter %zu is sent again, which nobody asked for", index);
    letter->again += again;
    if (++letter->arrived > 1 + letter->again)
        sim_broken("letter %zu came twice", index);
    if (*seen >= letter->number && !again)
        sim_broken("letter %zu came after a later one", index);
    *seen = letter->number;
}

static void arrive(unsigned to, nq_msg *msg)
{
    const uint8_t *data;
    const void *at;
    size_t len;
    struct node *node = &sim.node[to];
    struct letter *letter;
    struct label label;

    if (nq_msg_data(msg, &at, &len))
        sim_broken("%s: %s", node->name, nq_error());
    data = at;
    if (len < sizeof(label))
        sim_broken("%s: a message of %zu bytes", node->name, len);
    memcpy(&label, data, sizeof(label));
    if (label.check != label_check(&label) || label.index >= sim.nletters ||
        len != sizeof(label) + label.size)
        sim_broken("%s: a message that nobody put", node->name);
    letter = &sim.letters[label.index];
    for (uint32_t i = 0; i < label.size; i++)
        if (data[sizeof(label) + i] != (uint8_t)(label.index + i * 7))
            sim_broken("letter %u is torn at byte %u", label.index, i);
    if (letter->to != to)
        sim_broken("letter %u came to %s", label.index, node->name);
    check_order(node, letter, msg);
    sim_note(label.index);
    sim_say("%s has letter %u", node->name, label.index);
    nq_msg_free(msg);
}

bool sim_get_one(unsigned to)
{
    struct node *node = &sim.node[to];
    nq_msg *msg;
    nq_err err;

    if (!node->queue || node->asleep)
        return false;
    err = nq_get(node->queue, NULL, 0, 0, &msg);
    if (err < 0)
        sim_broken("get: %s", nq_error());
    if (err)
        return false;
    arrive(to, msg);
    return true;
}

/* ---- outcomes --------------------------------------------------------------------------- */

static void letter_settle(struct letter *letter)
{
    nq_reason reason;

    letter->outcome = nq_future_outcome(letter->future, &reason);
    nq_future_free(letter->future);
    letter->future = NULL;
    sim_note((uint64_t)letter->outcome << 16 | (uint64_t)reason);
    sim.delivered += letter->outcome == NQ_DELIVERED;
    sim.unknown += letter->outcome == NQ_UNKNOWN;
    if (letter->outcome == NQ_PENDING)
        sim_broken("letter %zu settled as pending", (size_t)(letter - sim.letters));
    if (letter->arrived && letter->outcome != NQ_DELIVERED && letter->outcome != NQ_UNKNOWN)
        sim_broken("letter %zu arrived, and is said to be: %s (%s)", (size_t)(letter - sim.letters),
                   nq_outcome_text(letter->outcome), nq_reason_text(reason));
    sim_say("letter %zu: %s (%s)", (size_t)(letter - sim.letters), nq_outcome_text(letter->outcome),
            nq_reason_text(reason));
}

void sim_look_at_futures(void)
{
    for (size_t i = 0; i < sim.nletters; i++)
        if (sim.letters[i].future && nq_future_poll(sim.letters[i].future) == NQ_OK)
            letter_settle(&sim.letters[i]);
}

void sim_cancel(void)
{
    struct letter *letter = sim.nletters ? &sim.letters[sim_draw(sim.nletters)] : NULL;
    nq_err err;

    if (!letter || !letter->future)
        return;
    err = nq_future_cancel(letter->future);
    letter->cancelled = err == NQ_OK;
    sim_note((uint64_t)err);
    sim_say("cancel letter %zu: %d", (size_t)(letter - sim.letters), (int)err);
}

void sim_forget_futures(unsigned from)
{
    for (size_t i = 0; i < sim.nletters; i++) {
        struct letter *letter = &sim.letters[i];

        if (letter->from != from || !letter->future)
            continue;
        if (nq_future_poll(letter->future) == NQ_OK)
            letter_settle(letter);
        nq_future_free(letter->future);
        letter->future = NULL;
    }
}

void sim_check_letters(void)
{
    for (size_t i = 0; i < sim.nletters; i++) {
        const struct letter *letter = &sim.letters[i];
        bool died = sim.node[letter->to].life != letter->to_life;

        if (letter->outcome == NQ_DELIVERED && !letter->arrived && (!died || sim.consumed))
            sim_broken("letter %zu is said to be delivered and never came", i);
        if (letter->asked && letter->outcome == NQ_PENDING &&
            sim.node[letter->from].life == letter->life)
            sim_broken("letter %zu never settled", i);
    }
}
