/* Under one lock: two may ask at the same time, and one of them reads the file. */
#include "core/keystore.h"

#include "core/err.h"
#include "core/log.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What tells a file from what it was: whoever writes into it or changes its mode changes ctime. */
struct keystore_stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
};

struct nqi_keystore {
    char *path;
    /* under lock */
    pthread_mutex_t lock;
    struct nqi_keyring *ring;
    struct keystore_stamp seen; /* of the file when it was read last, well or not */
    int64_t look_at;
};

static struct keystore_stamp keystore_stamp(const char *path)
{
    struct stat info;

    if (stat(path, &info))
        return (struct keystore_stamp){0};
    return (struct keystore_stamp){info.st_dev, info.st_ino, info.st_size, info.st_ctim};
}

static bool keystore_same(const struct keystore_stamp *a, const struct keystore_stamp *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* Under lock.  The stamp is taken before the file is read: who changes it meanwhile is seen the
 * next time. */
static void keystore_refresh(struct nqi_keystore *store, int64_t now)
{
    struct keystore_stamp stamp;
    struct nqi_keyring *ring;

    if (!store->path || now < store->look_at)
        return;
    store->look_at = now + NQI_KEYSTORE_LOOK_NS;
    stamp = keystore_stamp(store->path);
    if (keystore_same(&stamp, &store->seen))
        return;
    store->seen = stamp;
    if (nqi_keyring_load(store->path, &ring)) {
        nqi_log(NQ_LOG_WARN, "the changed keys are not used, the old ones hold on: %s", nq_error());
        return;
    }
    nqi_keyring_free(store->ring);
    store->ring = ring;
    nqi_log(NQ_LOG_INFO, "%s: new keys are in use", store->path);
}

void nqi_keystore_find(struct nqi_keystore *store, const nq_uuid *id, int64_t now,
                       struct nqi_keys *ret)
{
    pthread_mutex_lock(&store->lock);
    keystore_refresh(store, now);
    *ret = *nqi_keyring_find(store->ring, id);
    pthread_mutex_unlock(&store->lock);
}

/* ---- life ------------------------------------------------------------------------------- */

nq_err nqi_keystore_new(struct nqi_keyring *ring, const char *path, struct nqi_keystore **ret)
{
    struct nqi_keystore *store = calloc(1, sizeof(*store));
    char *copy = path ? strdup(path) : NULL;

    if (!store || (path && !copy)) {
        nqi_keyring_free(ring);
        free(copy);
        free(store);
        return nqi_fail(NQ_ERR_NOMEM, "no memory for keys");
    }
    pthread_mutex_init(&store->lock, NULL);
    store->ring = ring;
    store->path = copy;
    *ret = store;
    return NQ_OK;
}

nq_err nqi_keystore_open(const char *path, struct nqi_keystore **ret)
{
    struct keystore_stamp stamp = keystore_stamp(path);
    struct nqi_keyring *ring;
    nq_err err = nqi_keyring_load(path, &ring);

    if (!err)
        err = nqi_keystore_new(ring, path, ret);
    if (!err)
        (*ret)->seen = stamp;
    return err;
}

void nqi_keystore_close(struct nqi_keystore *store)
{
    if (!store)
        return;
    nqi_keyring_free(store->ring);
    pthread_mutex_destroy(&store->lock);
    free(store->path);
    free(store);
}
