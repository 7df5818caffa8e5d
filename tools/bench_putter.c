/* A thread of `netqueue bench` that puts while another one waits for the answer. */
#include "tools/bench.h"
#include <unistd.h>

/* Under mtx, which is left meanwhile. */
static void putter_put(struct nqi_putter *putter)
{
    uint64_t number = putter->done;
    int code;

    putter->began_ns = nqi_now_ns();
    pthread_mutex_unlock(&putter->mtx);
    code = putter->put(putter->bench, number);
    if (code)
        _exit(code);
    pthread_mutex_lock(&putter->mtx);
    putter->done++;
}

static void *putter_run(void *arg)
{
    struct nqi_putter *putter = arg;

    pthread_mutex_lock(&putter->mtx);
    while (putter->done != putter->told || !putter->end) {
        if (putter->done != putter->told)
            putter_put(putter);
        else
            pthread_cond_wait(&putter->cond, &putter->mtx);
    }
    pthread_mutex_unlock(&putter->mtx);
    return NULL;
}

bool nqi_putter_start(struct nqi_putter *putter, const struct nqi_bench *bench,
                      int (*put)(const struct nqi_bench *bench, uint64_t number))
{
    *putter = (struct nqi_putter){.bench = bench, .put = put};
    pthread_mutex_init(&putter->mtx, NULL);
    pthread_cond_init(&putter->cond, NULL);
    return pthread_create(&putter->thread, NULL, putter_run, putter) == 0;
}

void nqi_putter_tell(struct nqi_putter *putter, uint64_t number)
{
    pthread_mutex_lock(&putter->mtx);
    putter->told = number + 1;
    pthread_cond_signal(&putter->cond);
    pthread_mutex_unlock(&putter->mtx);
}

int64_t nqi_putter_began(struct nqi_putter *putter)
{
    int64_t began;

    pthread_mutex_lock(&putter->mtx);
    began = putter->began_ns;
    pthread_mutex_unlock(&putter->mtx);
    return began;
}

void nqi_putter_end(struct nqi_putter *putter)
{
    pthread_mutex_lock(&putter->mtx);
    putter->end = true;
    pthread_cond_signal(&putter->cond);
    pthread_mutex_unlock(&putter->mtx);
    pthread_join(putter->thread, NULL);
    pthread_cond_destroy(&putter->cond);
    pthread_mutex_destroy(&putter->mtx);
}
